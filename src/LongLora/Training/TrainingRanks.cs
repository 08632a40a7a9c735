using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The ranks of a training run and what each of them does: micro-batch m of a step belongs to data rank m mod N. The parts of a data rank
/// are neighbors, rank = data rank * parts + part, because they talk most.
/// </summary>
/// <param name="communicator">All ranks.</param>
/// <param name="parts">Ranks that share each micro-batch; divides the number of ranks. Default 1.</param>
internal sealed class TrainingRanks(ICommunicator communicator, int parts = 1)
{
    /// <summary>One process that does everything.</summary>
    internal static TrainingRanks One { get; } = new(SingleProcess.Instance);

    /// <summary>All ranks.</summary>
    internal ICommunicator Communicator => communicator;

    /// <summary>Ranks that share a micro-batch.</summary>
    internal int Parts => parts;

    /// <summary>Which part of its micro-batches this rank has.</summary>
    internal int Part => communicator.Rank % parts;

    /// <summary>N.</summary>
    internal int DataCount => communicator.Size / parts;

    /// <summary>Which micro-batches this rank has.</summary>
    internal int DataRank => communicator.Rank / parts;

    /// <summary>Whether this rank has a micro-batch of a step.</summary>
    internal bool Has(int microBatch) => microBatch % DataCount == DataRank;

    /// <summary>What this rank counted, once for each micro-batch, added over all ranks.</summary>
    internal long[] Sum(params long[] values) => Reduce(Part == 0 ? values : new long[values.Length], Reduction.Sum);

    /// <summary>Numbers of which all ranks but one have 0.</summary>
    internal double[] Sum(double[] values) => Reduce(values, Reduction.Sum);

    /// <summary>The largest of all ranks.</summary>
    internal long[] Max(params long[] values) => Reduce(values, Reduction.Max);

    private T[] Reduce<T>(T[] values, Reduction reduction)
        where T : unmanaged
    {
        if (communicator.Size == 1)
            return values;
        using var all = from_array(values);
        communicator.AllReduce(all, reduction).Wait();
        return all.data<T>().ToArray();
    }
}
