using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// What the processes of one training run (its ranks) tell each other. Each rank learns from its own micro-batches; what it found is added
/// to what the others found.
/// </summary>
/// <remarks>All ranks make the same calls in the same order, with tensors of the same shape and type.</remarks>
internal interface ICommunicator
{
    /// <summary>This process, from 0.</summary>
    int Rank { get; }

    /// <summary>Number of processes, at least 1.</summary>
    int Size { get; }

    /// <summary>Replaces a tensor on every rank by the sum over all ranks, in place: all ranks get the same bits.</summary>
    /// <param name="tensor">Contiguous; int64, fp32 or fp64.</param>
    void AllReduce(Tensor tensor);
}
