using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora chat</c>: a conversation in the terminal, with documents in its context.</summary>
internal static class ChatCommand
{
    internal static Command Create(CliContext context)
    {
        var source = new ModelArguments();
        var template = TemplateOption();
        var load = new Option<string[]>("--load")
        {
            Description = "documents to begin with: .txt, .md, .pdf, .docx, .html",
            HelpName = "FILE",
            AllowMultipleArgumentsPerToken = true,
        };
        var system = new Option<string>("--system") { Description = "what the model is told before everything else", HelpName = "TEXT" };
        var sampling = new SamplingArguments(new GenerationOptions { MaxTokens = 512 });
        var cache = new CacheArguments();
        var command = new Verb(
            "chat",
            "Talk with a model, about documents too. A question from a pipe is answered, and that is all.",
            "longlora chat --model merged --load book.pdf",
            "echo \"Who is Ishmael?\" | longlora chat --model merged --load moby.txt"
        )
        {
            load,
            system,
            template,
        };
        source.AddTo(command);
        sampling.AddTo(command);
        cache.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = sampling.Read(parsed);
            options.Validate();
            using var model = cache.Open(context, parsed, source.Read(parsed) with { Template = parsed.GetValue(template) });
            var session = new ChatSession(model, options);
            if (parsed.GetValue(system) is { } text)
                session.SetSystem(text);
            foreach (var file in parsed.GetValue(load) ?? [])
                session.Load(file);
            return new ChatTerminal(context, session).Run();
        });
        return command;
    }

    internal static Option<string> TemplateOption() =>
        new("--template")
        {
            Description = $"chat template: auto (the model's own), {string.Join(", ", ChatTemplate.Names)}, or a file",
            HelpName = "NAME",
            DefaultValueFactory = _ => "auto",
        };
}
