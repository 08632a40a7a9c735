using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>
/// All options of one fine-tuning run: the one tree that a recipe, the command line and the library share. Recipes and flags are flat:
/// every property of a part is a key of the recipe and a flag of the command line under its name in kebab-case (<c>LearningRate</c> is
/// <c>learning-rate</c>), but for <see cref="ModelOptions.Path"/>, which is <c>model</c>, and <see cref="DataOptions.Sources"/>, which is
/// <c>data</c>.
/// </summary>
/// <example>
/// <code>
/// new FineTuneOptions
/// {
///     Model = new() { Path = "Llama-2-7b", Context = 32768 },
///     Data = new() { Sources = ["books"] },
///     Run = new() { Output = "run32k" },
/// }
/// </code>
/// </example>
public sealed record FineTuneOptions
{
    /// <summary>The model, and the context that it gets.</summary>
    public required ModelOptions Model { get; init; }

    /// <summary>What is learnt from.</summary>
    public required DataOptions Data { get; init; }

    /// <summary>Attention while training, and what is trained. Default: the paper's.</summary>
    public MethodOptions Method { get; init; } = new();

    /// <summary>The optimizer steps. Default: the paper's.</summary>
    public OptimizerOptions Optimizer { get; init; } = new();

    /// <summary>Where the run is kept, and how often it is saved.</summary>
    public required RunOptions Run { get; init; }

    /// <summary>Where and in how much memory the run computes. Default: whatever there is.</summary>
    public MachineOptions Machine { get; init; } = new();

    /// <summary>Checks every option that can be checked without opening a file.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate() =>
        OptionProblems.ThrowIfAny(
            Model.Check,
            Data.Check,
            problems => Method.Check(problems, Model),
            problems =>
                problems.Require(
                    Method.ShortShare == 0 || (Data.Task == TrainingTask.Text && !Data.KeepDocumentsApart),
                    "short-share applies only to running text that is packed into full rows; set it to 0 for sft or with "
                        + "keep-documents-apart"
                ),
            Optimizer.Check,
            Run.Check,
            problems => Machine.Check(problems, Method)
        );
}
