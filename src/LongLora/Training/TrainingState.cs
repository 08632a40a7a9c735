using System.Globalization;
using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Distributed;
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
    // Elements that are looked at together, so that a look takes little memory.
    private const long PieceElements = 1 << 24;

    /// <summary>Optimizer steps taken.</summary>
    public long Step => optimizer.Steps;

    /// <summary>Who has the moments.</summary>
    internal AdamW Optimizer => optimizer;

    /// <summary>Decides which steps are skipped; null if nothing does.</summary>
    internal SpikeGuard? Spikes { get; init; }

    /// <summary>Numbers in the weights and moments together.</summary>
    internal long Count => 3 * parameters.Count;

    /// <summary>Writes <c>training_state.safetensors</c>, atomically, and its checksum beside it.</summary>
    /// <param name="folder">Where to write.</param>
    /// <param name="fingerprint">What the run's numbers depend on, as one string; a resume with a different one is refused.</param>
    /// <exception cref="DataException">A weight or moment is not finite. Nothing was written.</exception>
    public void Save(string folder, string fingerprint) => Save(folder, fingerprint, null);

    /// <summary>Saves, and writes down which version of the program did, and on what it computed.</summary>
    internal void Save(string folder, string fingerprint, string? version, string? machine = null)
    {
        if (CountNotFiniteHere() is > 0 and var bad)
            throw new DataException(
                $"Cannot save the state of step {Step} because {bad:N0} of its {Count:N0} numbers are not finite. Resume from an "
                    + "earlier checkpoint with a lower learning rate."
            );
        var metadata = new Dictionary<string, string>
        {
            ["step"] = Step.ToString(CultureInfo.InvariantCulture),
            ["epoch"] = sampler.Epoch.ToString(CultureInfo.InvariantCulture),
            ["index"] = sampler.Index.ToString(CultureInfo.InvariantCulture),
            ["tokens"] = sampler.Tokens.ToString(CultureInfo.InvariantCulture),
            ["layout"] = DescribeLayout(parameters),
            ["fingerprint"] = fingerprint,
        };
        if (version is not null)
            metadata[SavedTrainingState.VersionKey] = version;
        if (machine is not null)
            metadata[SavedTrainingState.MachineKey] = machine;
        if (Spikes is { IsOn: true })
        {
            metadata[SavedTrainingState.NormsKey] = Spikes.Save();
            metadata[SavedTrainingState.SkippedKey] = optimizer.Skipped.ToString(CultureInfo.InvariantCulture);
        }
        var (first, second) = optimizer.ReadMoments();
        SafetensorsWriter.Write(
            Path.Combine(folder, SavedTrainingState.FileName),
            [
                TensorToWrite.Of(SavedTrainingState.Values, parameters.Values),
                ToWrite(SavedTrainingState.FirstMoment, first),
                ToWrite(SavedTrainingState.SecondMoment, second),
            ],
            metadata
        );
        Checksums.Write(folder, [SavedTrainingState.FileName]);
    }

    /// <summary>Restores a state into parts that were created as for a new run.</summary>
    /// <returns>The position in the data.</returns>
    /// <exception cref="CheckpointException">The file is damaged, or belongs to a run with other trained weights.</exception>
    /// <exception cref="ConfigurationException">The run was started with other options.</exception>
    public static BatchSamplerState Restore(string folder, AdamW optimizer, ParameterBuffer parameters, string fingerprint)
    {
        using var saved = SavedTrainingState.Open(folder);
        saved.Restore(optimizer, parameters, fingerprint);
        return saved.Place;
    }

    /// <summary>Gives all ranks the weights, moments that are not divided, steps and latest norms of rank 0.</summary>
    internal static void Share(ICommunicator ranks, AdamW optimizer, ParameterBuffer parameters, SpikeGuard? spikes)
    {
        if (ranks.Size == 1)
            return;
        using var steps = tensor(new[] { optimizer.Steps, optimizer.Skipped });
        Tensor[] shared = [steps, parameters.Values.detach()];
        if (optimizer.Shards is null)
            shared = [.. shared, optimizer.FirstMoment, optimizer.SecondMoment];
        foreach (var one in shared)
            ranks.Broadcast(one, 0).Wait();
        shared[1].Dispose();
        (optimizer.Steps, optimizer.Skipped) = (steps.data<long>()[0], steps.data<long>()[1]);
        spikes?.TryRestore(ranks.BroadcastText(spikes.Save()));
    }

    /// <summary>How many numbers of the weights and moments are infinite or NaN. All ranks call it.</summary>
    internal long CountNotFinite()
    {
        if (optimizer.Shards is not { } shards)
            return CountNotFiniteHere();
        // All have the same weights, and each its own part of the moments.
        using var moments = tensor(new[] { CountNotFinite(optimizer.FirstMoment, optimizer.SecondMoment) });
        shards.Ranks.AllReduce(moments, Reduction.Sum).Wait();
        return CountNotFinite(parameters.Values) + moments.data<long>()[0];
    }

    private long CountNotFiniteHere() => CountNotFinite(parameters.Values, optimizer.FirstMoment, optimizer.SecondMoment);

    private static long CountNotFinite(params Tensor[] all)
    {
        using var noGradient = no_grad();
        var count = 0L;
        foreach (var whole in all)
        {
            for (long start = 0; start < whole.numel(); start += PieceElements)
            {
                using var scope = NewDisposeScope();
                var piece = whole.detach().narrow(0, start, Math.Min(PieceElements, whole.numel() - start));
                count += piece.numel() - piece.isfinite().sum().item<long>();
            }
        }
        return count;
    }

    // Parts of other ranks are looked at when they come.
    private TensorToWrite ToWrite(string name, IEnumerable<Tensor> moment) =>
        TensorToWrite.OfPieces(name, ScalarType.Float32, [parameters.Count], moment.Select(RequireFinite));

    private Tensor RequireFinite(Tensor piece) =>
        optimizer.Shards is null || CountNotFinite(piece) == 0
            ? piece
            : throw new DataException(
                $"Cannot save the state of step {Step} because '{SavedTrainingState.FirstMoment}' or "
                    + $"'{SavedTrainingState.SecondMoment}' has numbers that are not finite. Resume from an earlier checkpoint."
            );

    internal static string DescribeLayout(ParameterBuffer parameters) =>
        JsonSerializer.Serialize(parameters.Layout.Select(l => new object[] { l.Name, l.Offset, l.Shape }));
}
