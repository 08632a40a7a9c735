using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>
/// All options of one fine-tuning run, shared by recipes, the command line and the library. Recipes and flags are flat: every property of a
/// part is a key of the recipe and a flag of the command line with its name in kebab-case (<c>LearningRate</c> is <c>learning-rate</c>).
/// The exceptions are <see cref="ModelOptions.Path"/>, which is <c>model</c>, and <see cref="DataOptions.Sources"/>, which is <c>data</c>.
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
    /// <summary>The model and its new context.</summary>
    public required ModelOptions Model { get; init; }

    /// <summary>The training data.</summary>
    public required DataOptions Data { get; init; }

    /// <summary>Attention during training, and what is trained. Default: as in the paper.</summary>
    public MethodOptions Method { get; init; } = new();

    /// <summary>The optimizer. Default: as in the paper.</summary>
    public OptimizerOptions Optimizer { get; init; } = new();

    /// <summary>The output directory and checkpoints.</summary>
    public required RunOptions Run { get; init; }

    /// <summary>The device, number formats and memory settings. Default: CUDA if available, else the CPU.</summary>
    public MachineOptions Machine { get; init; } = new();

    /// <inheritdoc cref="OptimizerOptions.AddsExactly"/>
    internal bool AddsExactly => Optimizer.AddsExactly(Method.Tuning);

    /// <summary>Checks all options that can be checked without opening files.</summary>
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
            problems => Machine.Check(problems, Method),
            problems => Machine.CheckParts(problems, Method, Model.Context),
            problems => IdleOptions.Check(problems, this)
        );
}
