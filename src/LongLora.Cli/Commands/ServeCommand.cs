using System.CommandLine;
using System.Net.Sockets;
using LongLora.Cli.Arguments;
using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Server;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora serve</c>: a model behind OpenAI's API, with a page to ask about documents.</summary>
internal static class ServeCommand
{
    internal static Command Create(CliContext context)
    {
        var source = new ModelArguments(withAdapter: false);
        var adapters = new ServedAdapters();
        var template = ChatCommand.TemplateOption();
        var server = new ServerArguments();
        var kept = new Option<int>("--kept-conversations")
        {
            Description = "conversations whose keys and values are kept in memory [default: 4]",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        };
        var parallel = new Option<int>("--parallel")
        {
            Description = "answers that are generated together, in one pass over the weights per token [default: 4]",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        };
        var sampling = new SamplingArguments(new ServerOptions().Defaults);
        var cache = new CacheArguments();
        var command = new Verb(
            "serve",
            "Serve a model to OpenAI clients, with a page to ask about documents.",
            "longlora serve --model merged",
            "longlora serve --model Llama-2-7b-chat --adapter run/adapter --port 9000",
            "longlora serve --model Llama-2-7b-chat --adapter law=run1 --adapter tea=run2"
        )
        {
            template,
        };
        source.AddTo(command);
        adapters.AddTo(command);
        server.AddTo(command);
        command.Options.Add(kept);
        command.Options.Add(parallel);
        sampling.AddTo(command);
        cache.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = server.Read(parsed, sampling.Read(parsed));
            options.Validate();
            var models = adapters.Read(
                parsed,
                source.Read(parsed) with
                {
                    Template = parsed.GetValue(template),
                    KeptConversations = parsed.GetValue(kept),
                    ParallelAnswers = parsed.GetValue(parallel),
                }
            );
            Serve(context, options, models, (model, first) => cache.Open(context, parsed, model, first)).GetAwaiter().GetResult();
            return ExitCode.Done;
        });
        return command;
    }

    // The port is taken before the models are loaded, which may take minutes.
    private static async Task Serve(
        CliContext context,
        ServerOptions options,
        IReadOnlyList<ChatModelOptions> wanted,
        Func<ChatModelOptions, ChatModel?, ChatModel> open
    )
    {
        var served = new ServedModels();
        var models = new List<ChatModel>();
        try
        {
            await using var app = ChatServer.Create(options, served);
            await Start(app, options, context.Cancellation);
            foreach (var model in wanted)
            {
                models.Add(open(model, models.FirstOrDefault()));
                models[^1].CheckGuesses(options.Defaults.LookupTokens);
            }
            served.Set(models);
            Describe(context, options, models, app.Services.GetRequiredService<IServer>());
            context.SayStopping = () => context.Error.WriteLine("Stopping; running answers have a few more seconds.");
            using var stopping = context.Cancellation.Register(app.Lifetime.StopApplication);
            await app.WaitForShutdownAsync(CancellationToken.None);
        }
        finally
        {
            models.ForEach(model => model.Dispose());
        }
    }

    private static async Task Start(WebApplication app, ServerOptions options, CancellationToken cancellation)
    {
        try
        {
            await app.StartAsync(cancellation);
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            var reason = e.GetBaseException()
                is AddressInUseException
                    or SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse }
                ? "the port is in use"
                : e.GetBaseException().Message.TrimEnd('.');
            throw new ConfigurationException(
                $"Cannot listen on {options.Host}:{options.Port} because {reason}. Choose another --port, or 0 for any that is free.",
                e
            );
        }
    }

    private static void Describe(CliContext context, ServerOptions options, List<ChatModel> models, IServer server)
    {
        var address = server.Features.Get<IServerAddressesFeature>()!.Addresses.First();
        foreach (var model in models)
            context.Output.WriteLine(
                $"{model.Name}, {(model.IsEndless ? "texts without end" : $"{model.Context:N0} tokens of context")}"
                    + (model.HasTemplate ? "" : "; no chat template, so it answers no conversations (choose one with --template)")
            );
        context.Output.WriteLine($"Page:   {address}/");
        context.Output.WriteLine($"OpenAI: {address}/v1{(options.ApiKey is null ? "" : ", with the API key")}");
        if (!options.IsLocal && options.ApiKey is null)
            context.Error.WriteLine(
                $"Warning: everybody who can reach {address} can use this server because it has no key. Set the variable LONGLORA_API_KEY."
            );
        context.Output.WriteLine("Ctrl-C ends it.");
        context.Output.Flush();
    }
}
