using LongLora.Configs;

namespace LongLora;

/// <summary>What a finished run leaves.</summary>
/// <param name="Result">The folder with the adapter, or with the model after full fine-tuning.</param>
/// <param name="Config">The model's config with its new context.</param>
/// <param name="TrainedParameters">Number of trained weights.</param>
public sealed record FineTuneResult(string Result, ModelConfig Config, long TrainedParameters)
{
    /// <summary>What was done to the data that its owner may want to know, such as examples that were shortened; sentences.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>
    /// The step that the result is of; more than <c>steps</c> if the run was resumed with fewer than it had done. Default 0.
    /// </summary>
    public long Steps { get; init; }

    /// <summary>How often the whole run has read the data, or with weights passed over it; 0.5 is half of it.</summary>
    public double Passes { get; init; }

    /// <summary>Steps of the whole run that were skipped as spikes (<c>skip-spikes</c>). Default 0.</summary>
    public long SkippedSteps { get; init; }
}
