using System.CommandLine;
using LongLora.Export;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora inspect</c>: what a folder or file is, from its headers.</summary>
internal static class InspectCommand
{
    internal static Command Create(CliContext context)
    {
        var path = new Argument<string>("PATH") { Description = "model folder, adapter folder or .safetensors file" };
        var tensors = new Option<bool>("--tensors") { Description = "list every tensor" };
        var command = new Command("inspect", "Show what a model, adapter or weight file is, without loading it.") { path, tensors };
        command.SetAction(parsed =>
        {
            var summary = CheckpointSummary.Read(parsed.GetValue(path)!);
            context.Console.WriteLine($"{summary.Kind}: {summary.Path}");
            var grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn();
            foreach (var (name, value) in summary.Facts)
                grid.AddRow(new Text("  " + name), new Text(value));
            context.Console.Write(grid);
            if (parsed.GetValue(tensors))
            {
                foreach (var tensor in summary.Tensors)
                    context.Console.WriteLine($"  {tensor.Type,-9} [{string.Join(", ", tensor.Shape)}]  {tensor.Name}");
            }
            return ExitCode.Done;
        });
        return command;
    }
}
