using System.Globalization;
using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// Everything that a resumed run needs: weights, moments, step and position in the data. The resumed run ends with the same bits as an
/// uninterrupted one.
/// </summary>
/// <param name="optimizer">Moments and step.</param>
/// <param name="parameters">Weights.</param>
/// <param name="sampler">Position in the data.</param>
public sealed class TrainingState(AdamW optimizer, ParameterBuffer parameters, BatchSamplerState sampler)
{
    private const string FileName = "training_state.safetensors";

    /// <summary>Optimizer steps taken.</summary>
    public long Step => optimizer.Steps;

    /// <summary>Writes <c>training_state.safetensors</c>, atomically.</summary>
    /// <param name="folder">Where to write.</param>
    /// <param name="fingerprint">What the run's numbers depend on, as one string; a resume with a different one is refused.</param>
    public void Save(string folder, string fingerprint) =>
        SafetensorsWriter.Write(
            Path.Combine(folder, FileName),
            [
                TensorToWrite.Of("values", parameters.Values),
                TensorToWrite.Of("first_moment", optimizer.FirstMoment),
                TensorToWrite.Of("second_moment", optimizer.SecondMoment),
            ],
            new Dictionary<string, string>
            {
                ["step"] = Step.ToString(CultureInfo.InvariantCulture),
                ["epoch"] = sampler.Epoch.ToString(CultureInfo.InvariantCulture),
                ["index"] = sampler.Index.ToString(CultureInfo.InvariantCulture),
                ["tokens"] = sampler.Tokens.ToString(CultureInfo.InvariantCulture),
                ["layout"] = DescribeLayout(parameters),
                ["fingerprint"] = fingerprint,
            }
        );

    /// <summary>Restores a state into parts that were created as for a new run.</summary>
    /// <returns>The position in the data.</returns>
    /// <exception cref="CheckpointException">The file is damaged, or belongs to a run with other trained weights or options.</exception>
    public static BatchSamplerState Restore(string folder, AdamW optimizer, ParameterBuffer parameters, string fingerprint)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var path = Path.Combine(folder, FileName);
        using var reader = new SafetensorsReader(path);
        string Text(string key) =>
            reader.Metadata.TryGetValue(key, out var value)
                ? value
                : throw new CheckpointException($"{path} is not a training state of LongLora because its metadata has no '{key}'.");
        if (Text("layout") != DescribeLayout(parameters))
            throw new CheckpointException(
                $"Cannot resume because the trained weights in {path} differ from those of this run. Use the options of the first "
                    + "run, or choose another output."
            );
        if (Text("fingerprint") != fingerprint)
            throw new ConfigurationException(DescribeDifference(path, Text("fingerprint"), fingerprint));
        parameters.Values.copy_(reader.Open("values"));
        optimizer.FirstMoment.copy_(reader.Open("first_moment"));
        optimizer.SecondMoment.copy_(reader.Open("second_moment"));
        long Number(string key) => long.Parse(Text(key), CultureInfo.InvariantCulture);
        optimizer.Steps = Number("step");
        // States of the first version do not have the token count, so earlier tokens are not counted. Nothing else is lost.
        return new BatchSamplerState(Number("epoch"), Number("index"), reader.Metadata.ContainsKey("tokens") ? Number("tokens") : 0);
    }

    private static string DescribeLayout(ParameterBuffer parameters) =>
        JsonSerializer.Serialize(parameters.Layout.Select(l => new object[] { l.Name, l.Offset, l.Shape }));

    private static string DescribeDifference(string path, string saved, string now)
    {
        var before = saved.Split('\n').ToHashSet();
        var changed = now.Split('\n').Where(line => !before.Contains(line)).ToList();
        return $"Cannot resume from {path} because the run was started with other options. These differ now: "
            + $"{string.Join("; ", changed)}. Use the options of the first run, or choose another output.";
    }
}
