using LongLora.Distributed;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>What all evaluations print and write in the same way.</summary>
internal static class EvaluationOutput
{
    /// <summary>Refuses files that cannot be written, before the hours of work for them.</summary>
    internal static void Require(string? json, string? picture = null)
    {
        if (picture is not null && !picture.EndsWith(".png", StringComparison.OrdinalIgnoreCase))
            throw new ConfigurationException($"--picture is '{picture}', but it must be a file name that ends in .png.");
        foreach (var file in new[] { json, picture }.OfType<string>())
            AtomicFile.RequireWritable(file);
    }

    /// <summary>The same for a job: rank 0 alone writes.</summary>
    internal static void Require(ICommunicator ranks, string? json, string? picture) =>
        ranks.OnRoot("looking at the files to write", () => Require(json, picture));

    /// <summary>Prints a note if lengths are beyond the context of the model.</summary>
    internal static void NoteContext(CliContext context, CausalLanguageModel model, IEnumerable<int> lengths)
    {
        var own = RopeScaling.GetCurrentContext(model.Config);
        if (lengths.Any(length => length > own))
            context.Output.WriteLine($"Lengths above {own:N0} exceed the model's context.");
    }
}
