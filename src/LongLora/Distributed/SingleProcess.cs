using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>A run of one process: there is nobody to tell anything.</summary>
internal sealed class SingleProcess : ICommunicator
{
    /// <summary>The only one.</summary>
    internal static SingleProcess Instance { get; } = new();

    private SingleProcess() { }

    /// <inheritdoc/>
    public int Rank => 0;

    /// <inheritdoc/>
    public int Size => 1;

    /// <summary>Leaves the tensor as it is: it is the sum.</summary>
    public void AllReduce(Tensor tensor) { }
}
