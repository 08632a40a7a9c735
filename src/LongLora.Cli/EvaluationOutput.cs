using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>What all evaluations say and write alike.</summary>
internal static class EvaluationOutput
{
    /// <summary>Refuses files that cannot be written to, before the hours whose results they take.</summary>
    internal static void Require(string? json, string? picture = null)
    {
        if (picture is not null && !picture.EndsWith(".png", StringComparison.OrdinalIgnoreCase))
            throw new ConfigurationException($"--picture is '{picture}'; pictures are written as .png.");
        foreach (var file in new[] { json, picture }.OfType<string>())
            AtomicFile.RequireWritable(file);
    }

    /// <summary>Says so where lengths lie beyond what the model was made for.</summary>
    internal static void NoteContext(CliContext context, CausalLanguageModel model, IEnumerable<int> lengths)
    {
        var own = RopeScaling.GetCurrentContext(model.Config);
        if (lengths.Any(length => length > own))
            context.Output.WriteLine($"Lengths above {own:N0} are beyond the context of the model.");
    }
}
