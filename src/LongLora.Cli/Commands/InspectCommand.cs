using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Export;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora inspect</c>: describes a folder or file from its headers.</summary>
internal static class InspectCommand
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    internal static Command Create(CliContext context)
    {
        var path = new Argument<string>("PATH")
        {
            Description = "model folder, adapter folder, .gguf, .safetensors, .bin, .pt or .pth file",
        };
        var tensors = new Option<bool>("--tensors") { Description = "list every tensor" };
        var json = new JsonOption("all of it, with every tensor,");
        var command = new Verb(
            "inspect",
            "Show what is in a model, adapter or weight file, without loading it.",
            "longlora inspect run32k/adapter"
        )
        {
            path,
            tensors,
            json,
        };
        command.SetAction(parsed =>
        {
            var summary = CheckpointSummary.Read(parsed.GetValue(path)!);
            context.Output.WriteLine($"{summary.Kind}: {summary.Path}");
            var width = summary.Facts.Max(f => f.Name.Length);
            foreach (var (name, value) in summary.Facts)
                context.Output.WriteLine($"  {name.PadRight(width)}  {value}");
            if (parsed.GetValue(tensors))
            {
                foreach (var tensor in summary.Tensors)
                    context.Output.WriteLine(
                        $"  {tensor.Blocks ?? tensor.Type.ToString(), -9} [{string.Join(", ", tensor.Shape)}]  {tensor.Name}"
                    );
            }
            json.Write(parsed, context, () => ToJson(summary));
            return ExitCode.Done;
        });
        return command;
    }

    private static string ToJson(CheckpointSummary summary) =>
        JsonSerializer.Serialize(
            new
            {
                kind = summary.Kind,
                path = summary.Path,
                facts = summary.Facts.ToDictionary(f => f.Name, f => f.Value),
                tensors = summary.Tensors.Select(t => new
                {
                    name = t.Name,
                    type = t.Blocks ?? t.Type.ToString(),
                    shape = t.Shape,
                    bytes = t.ByteCount,
                }),
            },
            s_json
        ) + "\n";
}
