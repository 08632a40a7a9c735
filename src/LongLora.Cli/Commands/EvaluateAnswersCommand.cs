using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Evaluation;
using LongLora.Options;
using LongLora.Runs;
using LongLora.Runtime;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora evaluate answers</c>: the loss of a model on the answers of conversations.</summary>
internal static class EvaluateAnswersCommand
{
    internal static Command Create(CliContext context)
    {
        var source = new ModelArguments(withPositions: true, withCompute: true);
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders with conversations, as for longlora sft",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var length = new Option<int>("--context")
        {
            Description = "maximum tokens per example; longer ones are shortened",
            HelpName = "N",
            Required = true,
        };
        var template = new Option<string>("--template")
        {
            Description = "chat template: auto (the model's own), a name, or a Jinja file [default: auto]",
            HelpName = "NAME",
            DefaultValueFactory = _ => "auto",
        };
        var columns = new Option<string[]>("--columns")
        {
            Description = "field names that differ, such as output=answer",
            HelpName = "NAME=COLUMN",
            AllowMultipleArgumentsPerToken = true,
        };
        var ignored = new Option<string[]>("--ignore-fields")
        {
            Description = "fields of records and messages not to look at",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
        };
        var variables = new TemplateOptionsOption();
        var reasoning = new Option<bool>("--keep-reasoning")
        {
            Description = "measure the reasoning of answers also where the template leaves it out",
        };
        var json = new JsonOption("the result");
        var command = new Verb(
            "answers",
            "Measure the loss on the answers of conversations.",
            "longlora evaluate answers --model merged --data held-out.jsonl --context 8192"
        )
        {
            data,
            length,
            template,
            columns,
            ignored,
            variables,
            reasoning,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            EvaluationOutput.Require(json.ReadFile(parsed));
            using var loaded = source.Load(parsed, context);
            var model = new ModelOptions { Path = source.ReadNames(parsed).Model, Context = parsed.GetValue(length) };
            var conversations = new DataOptions
            {
                Sources = [.. parsed.GetValue(data)!.Select(path => new DataSource(path))],
                Task = TrainingTask.Sft,
                Template = parsed.GetValue(template)!,
                TemplateOptions = parsed.GetValue(variables)!,
                KeepReasoning = parsed.GetValue(reasoning),
                Columns = parsed.GetValue(columns) ?? [],
                IgnoreFields = parsed.GetValue(ignored) ?? [],
            };
            OptionProblems.ThrowIfAny(model.Check, conversations.Check);
            var examples = TrainingData
                .Sources(loaded.Source, conversations, model.Context, DocumentFormats.Isolated, loaded.Config.VocabularySize)
                .SelectMany(s => s.Read(context.Cancellation));
            var result = AnswerLoss.Evaluate(loaded.Network, examples, null, context.Cancellation);
            context.Output.WriteLine(
                $"{MessageText.Count(result.Examples, "example")}, {MessageText.Count(result.Tokens, "answer token")}: loss "
                    + $"{result.Loss:F4}, perplexity {result.Perplexity:F3}; {MessageText.Count(result.Exact, "example")} answered "
                    + "word for word"
            );
            json.Write(parsed, context, () => new AnswersFile
                {
                    Model = source.ReadNames(parsed).Model,
                    Adapter = source.ReadNames(parsed).Adapter,
                    Compute = loaded.Network.ComputeName,
                    Loss = result.Loss,
                    Tokens = result.Tokens,
                    Examples = result.Examples,
                    Exact = result.Exact,
                });
            return ExitCode.Done;
        });
        return command;
    }
}
