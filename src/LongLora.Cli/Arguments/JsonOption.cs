using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using LongLora.Evaluation;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary>
/// <c>--json [FILE]</c>: the results of a command as one JSON object, in a file, or on standard output. What the command says to people
/// then goes to standard error.
/// </summary>
internal sealed class JsonOption : Option<string?>
{
    private const string StandardOutput = "-";

    private static readonly JsonSerializerOptions s_style = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        // A loss may be no number, and the rest of the results still counts.
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
    };

    internal JsonOption(string what = "the results")
        : base("--json")
    {
        (Description, HelpName) = (
            $"also write {what} as JSON to this file; without FILE, to standard output and all else to stderr",
            "FILE"
        );
        Arity = ArgumentArity.ZeroOrOne;
    }

    /// <summary>Whether the JSON goes to standard output.</summary>
    internal bool TakesOutput(ParseResult parsed) =>
        parsed.GetResult(this) is { Implicit: false } && parsed.GetValue(this) is null or StandardOutput;

    /// <summary>The file for the JSON; null if there is none.</summary>
    internal string? ReadFile(ParseResult parsed) => TakesOutput(parsed) ? null : parsed.GetValue(this);

    /// <summary>Refuses the option beside another with which a command prints no figures.</summary>
    /// <exception cref="ConfigurationException">It was given.</exception>
    internal void RefuseWith(ParseResult parsed, Option other)
    {
        if (parsed.GetResult(this) is { Implicit: false })
            throw new ConfigurationException(
                $"Cannot write JSON because {other.Name} shows texts and no figures. Give only one of the two."
            );
    }

    /// <summary>Writes the results of a verb, if they are wanted.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="context">Where standard output is.</param>
    /// <param name="kind">What is described, such as <c>merge</c>.</param>
    /// <param name="values">An object whose properties are the results. Their names are written in snake_case.</param>
    internal void Write(ParseResult parsed, CliContext context, string kind, object values)
    {
        if (parsed.GetResult(this) is not { Implicit: false })
            return;
        var all = new Dictionary<string, object?> { ["version"] = EvaluationFile.CurrentVersion, ["kind"] = kind };
        foreach (var property in JsonSerializer.SerializeToElement(values, s_style).EnumerateObject())
            all[property.Name] = property.Value;
        WriteText(parsed, context, JsonSerializer.Serialize(all, s_style));
    }

    /// <summary>Writes the results of an evaluation, if they are wanted.</summary>
    internal void Write(ParseResult parsed, CliContext context, Func<EvaluationFile> results)
    {
        if (parsed.GetResult(this) is { Implicit: false })
            WriteText(parsed, context, results().ToText());
    }

    /// <summary>Writes a JSON text of a command's own layout, if it is wanted.</summary>
    internal void Write(ParseResult parsed, CliContext context, Func<string> text)
    {
        if (parsed.GetResult(this) is { Implicit: false })
            WriteText(parsed, context, text());
    }

    private void WriteText(ParseResult parsed, CliContext context, string text)
    {
        if (ReadFile(parsed) is { } file)
            AtomicFile.WriteText(file, text.TrimEnd() + "\n");
        else
            context.Results.WriteLine(text.TrimEnd());
    }
}
