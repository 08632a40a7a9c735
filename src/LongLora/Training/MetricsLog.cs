using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Training;

/// <summary>
/// Writes every step to <c>metrics.jsonl</c>, one JSON object per line, and to a TensorBoard event file; each line is on disk before the
/// next step starts. Then it passes the step on.
/// </summary>
internal sealed class MetricsLog : IProgress<TrainingStep>
{
    internal const string FileName = "metrics.jsonl";
    private static readonly JsonSerializerOptions s_names = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    private readonly string _path,
        _folder;
    private readonly IProgress<TrainingStep>? _next;

    /// <summary>Opens the log of a run directory.</summary>
    /// <param name="folder">The run directory.</param>
    /// <param name="resumedStep">
    /// The last step that was saved; later lines are removed, because those steps were lost in the interruption.
    /// </param>
    /// <param name="next">Receives each step after the files are written.</param>
    /// <param name="tell">Told of damaged lines, which are removed; null if nobody wants to know.</param>
    public MetricsLog(string folder, long resumedStep, IProgress<TrainingStep>? next, Action<string>? tell = null)
    {
        (_path, _folder, _next) = (Path.Combine(folder, FileName), folder, next);
        var kept =
            resumedStep > 0 && File.Exists(_path) ? ReadWhole(_path, tell ?? (_ => { })).Where(s => s.Step <= resumedStep).ToList() : [];
        AtomicFile.Write(_path, stream =>
        {
            foreach (var step in kept)
                stream.Write(EncodeLine(step));
        });
        TensorBoardWriter.Resume(folder, resumedStep);
    }

    /// <summary>The steps in a run directory's log.</summary>
    /// <exception cref="CheckpointException">There is none, or a line is damaged.</exception>
    public static IReadOnlyList<TrainingStep> Read(string folder)
    {
        var path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            throw new CheckpointException(
                $"'{folder}' is not a run directory because it has no {FileName}. Give the output folder of a training run."
            );
        var steps = new List<TrainingStep>();
        var lines = File.ReadAllLines(path);
        for (var i = 0; i < lines.Length; i++)
        {
            if (ReadLine(lines[i], out var why) is { } step)
                steps.Add(step);
            else if (i < lines.Length - 1) // the process may have been killed while it wrote the last line
                throw new CheckpointException($"{path}:{i + 1}: cannot read this line: {why} Delete the line.");
        }
        return steps;
    }

    // What can be read. A log never stops a run.
    private static List<TrainingStep> ReadWhole(string path, Action<string> tell)
    {
        var steps = new List<TrainingStep>();
        var damaged = new List<int>();
        var lines = File.ReadAllLines(path);
        for (var i = 0; i < lines.Length; i++)
        {
            if (ReadLine(lines[i], out _) is { } step)
                steps.Add(step);
            else if (i < lines.Length - 1)
                damaged.Add(i + 1);
        }
        if (damaged.Count > 0)
            tell(
                $"{(damaged.Count > 1 ? $"{damaged.Count} damaged lines" : "1 damaged line")} of {path} cannot be read and will be removed "
                    + $"(first: line {damaged[0]}). Training is not affected."
            );
        return steps;
    }

    private static TrainingStep? ReadLine(string line, out string why)
    {
        try
        {
            why = "it is null.";
            return JsonSerializer.Deserialize<TrainingStep>(line, s_names);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or OverflowException or ArgumentException)
        {
            why = e.Message;
            return null;
        }
    }

    /// <inheritdoc/>
    public void Report(TrainingStep value)
    {
        AtomicFile.Guard(_path, () =>
        {
            using var stream = new FileStream(_path, FileMode.Append, FileAccess.Write, FileShare.Read);
            stream.Write(EncodeLine(value));
            DurableFile.Flush(stream);
        });
        TensorBoardWriter.Append(
            _folder,
            value.Step,
            [
                ("train/loss", value.Loss),
                ("train/learning_rate", value.LearningRate),
                ("train/gradient_norm", value.GradientNorm),
                ("train/tokens_per_second", value.TokensPerSecond),
            ]
        );
        _next?.Report(value);
    }

    private static byte[] EncodeLine(TrainingStep step) => [.. JsonSerializer.SerializeToUtf8Bytes(step, s_names), (byte)'\n'];
}
