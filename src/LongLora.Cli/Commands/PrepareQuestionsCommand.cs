using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Documents.Questions;
using LongLora.Layers;
using LongLora.Runtime;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora prepare qa</c>: questions and answers about documents, written by a model.</summary>
internal static class PrepareQuestionsCommand
{
    internal static Command Create(CliContext context)
    {
        var standard = new QuestionOptions { Data = [], Output = "" };
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders, as for prepare",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var output = new OutputOption("JSON file to write; without --endpoint, the prompts as JSON lines", helpName: "FILE");
        var endpoint = new Option<string>("--endpoint")
        {
            Description = "base URL of an OpenAI-compatible service, local or remote, such as http://127.0.0.1:8080/v1",
            HelpName = "URL",
        };
        var model = new Option<string>("--endpoint-model")
        {
            Description = $"model to use at the endpoint [default: {standard.Model}]",
            HelpName = "NAME",
            DefaultValueFactory = _ => standard.Model,
        };
        var key = new Option<string>("--api-key-variable")
        {
            Description = "environment variable with the API key [default: OPENAI_API_KEY]",
            HelpName = "NAME",
        };
        var tasks = new Option<string[]>("--tasks")
        {
            Description = $"kinds of questions, used in turn [default: {string.Join(' ', QuestionTask.All.Select(t => t.Name))}]",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
        };
        var kind = new Option<string>("--kind")
        {
            Description = "kind of the documents, for the wording of the prompts [default: material]",
            HelpName = "material|paper|book",
            DefaultValueFactory = _ => "material",
        };
        kind.AcceptOnlyFromAmong("material", "paper", "book");
        var chunk = Number(
            "--chunk",
            $"maximum characters of a document chunk in one prompt [default: {standard.ChunkCharacters:N0}]",
            standard.ChunkCharacters
        );
        var perChunk = Number("--per-chunk", "number of questions about each chunk [default: 1]", standard.PerChunk);
        var limit = new Option<int?>("--limit") { Description = "maximum number of questions in total", HelpName = "N" };
        var parallel = Number("--parallel", $"number of parallel requests [default: {standard.Parallel}]", standard.Parallel);
        var retries = Number("--retries", $"number of retries after a failure [default: {standard.Retries}]", standard.Retries);
        var temperature = new Option<double>("--temperature")
        {
            Description = $"sampling temperature [default: {standard.Temperature}]",
            HelpName = "T",
            DefaultValueFactory = _ => standard.Temperature,
        };
        var maxTokens = Number("--max-tokens", $"maximum tokens per answer [default: {standard.MaxTokens:N0}]", standard.MaxTokens);
        var results = new Option<string>("--results")
        {
            Description = "file with the results of a batch run of the prompts: one JSON object per line",
            HelpName = "FILE",
        };
        var json = new JsonOption("the counts");
        var command = new Verb(
            "qa",
            "Have a model write questions and answers about documents.",
            "longlora prepare qa --data papers --kind paper --output qa.json \\",
            "                    --endpoint http://127.0.0.1:8080/v1"
        )
        {
            data,
            output,
            endpoint,
            model,
            key,
            tasks,
            kind,
            chunk,
            perChunk,
            limit,
            parallel,
            retries,
            temperature,
            maxTokens,
            results,
            json,
        };
        command.SetAction(parsed =>
        {
            var options = standard with
            {
                Data = parsed.GetValue(data)!,
                Output = parsed.GetValue(output)!,
                Endpoint = parsed.GetValue(endpoint) is { } address ? AddressOf(address) : null,
                Model = parsed.GetValue(model)!,
                ApiKey = KeyIn(parsed.GetValue(key)),
                Tasks = parsed.GetValue(tasks) is { Length: > 0 } names ? [.. names.Select(QuestionTask.Of)] : QuestionTask.All,
                Kind = Enum.Parse<MaterialKind>(parsed.GetValue(kind)!, ignoreCase: true),
                ChunkCharacters = parsed.GetValue(chunk),
                PerChunk = parsed.GetValue(perChunk),
                Limit = parsed.GetValue(limit),
                Parallel = parsed.GetValue(parallel),
                Retries = parsed.GetValue(retries),
                Temperature = parsed.GetValue(temperature),
                MaxTokens = parsed.GetValue(maxTokens),
            };
            var report = parsed.GetValue(results) is { } file ? QuestionBuilder.TakeBatch(options, file) : Build(context, options);
            var code = Print(context, report, isAnswered: options.Endpoint is not null || parsed.GetValue(results) is not null);
            json.Write(parsed, context, "prepare-qa", report);
            return code;
        });
        return command;
    }

    private static Option<int> Number(string name, string description, int standard) =>
        new(name)
        {
            Description = description,
            HelpName = "N",
            DefaultValueFactory = _ => standard,
        };

    private static Uri AddressOf(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var address)
            ? address
            : throw new ConfigurationException($"Option endpoint is '{text}'; it must be a URL such as http://127.0.0.1:8080/v1.");

    // A named variable must exist. The default one may be absent, because local servers need no key.
    private static string? KeyIn(string? variable) =>
        Environment.GetEnvironmentVariable(variable ?? "OPENAI_API_KEY") is { Length: > 0 } key ? key
        : variable is null ? null
        : throw new ConfigurationException(
            $"The environment variable '{variable}', which --api-key-variable names, is not set. Set it to the API key."
        );

    private static QuestionReport Build(CliContext context, QuestionOptions options)
    {
        if (!context.ShowsProgress)
            return QuestionBuilder.BuildAsync(options, null, context.Cancellation).GetAwaiter().GetResult();
        return context
            .Console.Status()
            .Start("reading", status =>
                QuestionBuilder
                    .BuildAsync(options, new Listener(done => status.Status = $"{done:N0} questions"), context.Cancellation)
                    .GetAwaiter()
                    .GetResult()
            );
    }

    private static int Print(CliContext context, QuestionReport report, bool isAnswered)
    {
        context.Output.WriteLine(
            isAnswered
                ? $"{report.Answered:N0} of {report.Prompts:N0} questions have an answer; {report.Asked:N0} are new."
                : $"{MessageText.Count(report.Prompts, "prompt")}. Send them to a service as a batch and pass the results with --results, "
                    + "or run again with --endpoint."
        );
        context.Output.WriteLine($"{(isAnswered ? "Questions" : "Prompts")}: {report.Path}");
        foreach (var file in report.LeftOut)
            context.Error.WriteLine($"Left out: {file.Reason}");
        if (isAnswered && report.Answered < report.Prompts)
            context.Error.WriteLine(
                $"{report.Prompts - report.Answered:N0} questions have no answer in the requested form. Run the same command again "
                    + "to retry them."
            );
        return report.LeftOut.Count > 0 || (isAnswered && report.Answered < report.Prompts) ? ExitCode.Input : ExitCode.Done;
    }

    private sealed class Listener(Action<int> report) : IProgress<int>
    {
        public void Report(int value) => report(value);
    }
}
