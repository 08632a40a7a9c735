using System.Globalization;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// A training state on disk, opened and checked: checksums, header, position and numbers. Nothing of a damaged state is ever used.
/// </summary>
internal sealed class SavedTrainingState : IDisposable
{
    internal const string FileName = "training_state.safetensors",
        Values = "values",
        FirstMoment = "first_moment",
        SecondMoment = "second_moment",
        VersionKey = "version",
        MachineKey = "machine",
        NormsKey = "gradient_norms",
        SkippedKey = "skipped";

    private readonly SafetensorsReader _reader;

    private SavedTrainingState(SafetensorsReader reader, bool isChecked) => (_reader, HasChecksums) = (reader, isChecked);

    /// <summary>Whether the state was saved with checksums. Earlier versions wrote none.</summary>
    public bool HasChecksums { get; }

    /// <summary>Optimizer steps taken.</summary>
    public long Step { get; private init; }

    /// <summary>Position in the data.</summary>
    public BatchSamplerState Place { get; private init; }

    /// <summary>What the run's numbers depend on.</summary>
    public string Fingerprint { get; private init; } = "";

    /// <summary>Version of the program that saved it; null for those that did not write it down.</summary>
    public string? Version => _reader.Metadata.GetValueOrDefault(VersionKey);

    /// <summary>What it was computed on; null for versions that did not write it down.</summary>
    public string? Machine => _reader.Metadata.GetValueOrDefault(MachineKey);

    /// <summary>Steps that were skipped.</summary>
    public long Skipped { get; private init; }

    private string Layout { get; init; } = "";

    /// <summary>Opens the state in a folder.</summary>
    /// <exception cref="CheckpointException">A file is missing or damaged.</exception>
    public static SavedTrainingState Open(string folder)
    {
        var path = Path.Combine(folder, FileName);
        var names = Checksums.Verify(folder);
        if (names?.Contains(FileName) == false)
            throw new CheckpointException(
                $"'{Path.Combine(folder, Checksums.FileName)}' does not list {FileName}, so the state cannot be checked. Copy "
                    + "the folder again."
            );
        var reader = new SafetensorsReader(path);
        try
        {
            var state = Read(reader, path, names is not null);
            state.RequireSound(path);
            return state;
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>Puts the state into parts that were created as for a new run; moments that are divided, on all ranks.</summary>
    /// <exception cref="CheckpointException">The state belongs to a run with other trained weights.</exception>
    /// <exception cref="ConfigurationException">The run was started with other options.</exception>
    public void Restore(AdamW optimizer, ParameterBuffer parameters, string fingerprint, SpikeGuard? spikes = null)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        // First the options: most of them that change which weights are trained change the fingerprint too, and are named.
        if (Fingerprint != fingerprint)
            throw new ConfigurationException(DescribeDifference(_reader.Path, Fingerprint, fingerprint));
        if (Layout != TrainingState.DescribeLayout(parameters))
            throw new CheckpointException(
                $"Cannot resume because the trained weights in {_reader.Path} differ from those of this run. Use the options of the "
                    + "first run, or choose another output."
            );
        foreach (var name in (string[])[Values, FirstMoment, SecondMoment])
        {
            if (_reader.Tensors[name].ElementCount != parameters.Count)
                throw new CheckpointException(
                    $"{_reader.Path}: '{name}' has {_reader.Tensors[name].ElementCount} numbers, but the run trains {parameters.Count}."
                );
        }
        parameters.Values.copy_(_reader.Open(Values));
        optimizer.FillMoments(_reader.Open(FirstMoment), _reader.Open(SecondMoment));
        (optimizer.Steps, optimizer.Skipped) = (Step, Skipped);
        spikes?.TryRestore(_reader.Metadata.GetValueOrDefault(NormsKey, ""));
    }

    private static SavedTrainingState Read(SafetensorsReader reader, string path, bool isChecked)
    {
        string Text(string key) =>
            reader.Metadata.TryGetValue(key, out var value)
                ? value
                : throw new CheckpointException($"{path} is not a training state of LongLora because its metadata has no '{key}'.");
        long Number(string key) =>
            long.TryParse(Text(key), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                ? number
                : throw new CheckpointException($"{path} is damaged: its '{key}' is '{Text(key)}', which is not a count.");
        if (!new SpikeGuard(0).TryRestore(reader.Metadata.GetValueOrDefault(NormsKey, "")))
            throw new CheckpointException($"{path} is damaged: its '{NormsKey}' are not numbers.");
        return new SavedTrainingState(reader, isChecked)
        {
            Step = Number("step"),
            // States of the first version do not have the token count, so earlier tokens are not counted. Nothing else is lost.
            Place = new(Number("epoch"), Number("index"), reader.Metadata.ContainsKey("tokens") ? Number("tokens") : 0),
            Skipped = reader.Metadata.ContainsKey(SkippedKey) ? Number(SkippedKey) : 0,
            Fingerprint = Text("fingerprint"),
            Layout = Text("layout"),
        };
    }

    // Earlier versions wrote no checksums, and saved what was not finite.
    private void RequireSound(string path)
    {
        using var scope = NewDisposeScope();
        foreach (var name in (string[])[Values, FirstMoment, SecondMoment])
        {
            if (
                !_reader.Tensors.TryGetValue(name, out var info)
                || info.Type != ScalarType.Float32
                || info.Shape.Count != 1
                || info.ElementCount == 0
            )
                throw new CheckpointException($"{path} is not a training state of LongLora because it has no list '{name}' in fp32.");
            TensorNumbers.RequireFinite(_reader.Open(name), info);
        }
        if (_reader.Open(SecondMoment).min().item<float>() < 0)
            throw new CheckpointException($"{path} is damaged: '{SecondMoment}' has a negative number, but it holds means of squares.");
    }

    private static string DescribeDifference(string path, string saved, string now)
    {
        var before = saved.Split('\n').ToHashSet();
        var changed = now.Split('\n').Where(line => !before.Contains(line)).ToList();
        if (changed.Count == 0)
            changed = [.. before.Except(now.Split('\n')).Select(line => $"no '{line}'")];
        return $"Cannot resume from {path} because the run was started with other options. These differ now: "
            + $"{string.Join("; ", changed)}. Use the options of the first run, or choose another output.";
    }

    /// <inheritdoc/>
    public void Dispose() => _reader.Dispose();
}
