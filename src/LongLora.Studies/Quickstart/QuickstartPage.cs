using System.Globalization;
using LongLora.Evaluation;
using LongLora.Reports;
using LongLora.Training;

namespace LongLora.Studies;

/// <summary>The results of a quickstart, as the report of its run with measures before and after.</summary>
internal static class QuickstartPage
{
    /// <summary>Writes the page.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">The options.</param>
    /// <param name="result">The results.</param>
    /// <param name="steps">The training's steps.</param>
    /// <param name="elapsed">Total time.</param>
    public static void Write(
        string path,
        QuickstartOptions options,
        QuickstartResult result,
        IReadOnlyList<TrainingStep> steps,
        TimeSpan elapsed
    )
    {
        (string State, IReadOnlyList<LengthMeasure> Measures)[] states =
        [
            (RunReader.Before, result.Before),
            ("rescaled, not trained", result.Rescaled),
            (RunReader.After, result.After),
        ];
        var run = RunReader.Read(Path.Combine(options.Output, "run"));
        ReportPage.Write(
            path,
            [
                run with
                {
                    Title = string.Create(
                        CultureInfo.InvariantCulture,
                        $"{result.Before[0].Length:N0} to {result.After[^1].Length:N0} tokens"
                    ),
                    Summary = string.Create(
                        CultureInfo.InvariantCulture,
                        $"A small language model, {Path.GetFileName(Path.TrimEndingDirectorySeparator(options.Model))}, was "
                            + $"trained on {result.Before[0].Length:N0} tokens. LongLoRA extended it with shifted sparse attention "
                            + $"during training, LoRA with trained embeddings and norms, and rescaled positions. "
                            + $"{result.Training.TrainedParameters:N0} weights were trained. Everything took {elapsed.TotalMinutes:F1} "
                            + $"minutes. All evaluations use full attention."
                    ),
                    Steps = steps,
                    Perplexity =
                    [
                        .. states.Select(s => new ReportPerplexity(
                            s.State,
                            [.. s.Measures.Select(m => new PerplexityResult(m.Length, Math.Log(m.Perplexity), 0))]
                        )),
                    ],
                    Retrieval =
                    [
                        .. states.Select(s => new ReportRetrieval(
                            "passkey",
                            s.State,
                            [.. s.Measures.Select(m => new ReportRetrievalLength(m.Length, m.PassKey, []))]
                        )),
                    ],
                    Notes =
                    [
                        string.Create(
                            CultureInfo.InvariantCulture,
                            $"{options.Trials} pass keys at each length. Perplexity is on {result.TestText}, held out from training."
                        ),
                    ],
                },
            ]
        );
    }
}
