using TorchSharp;

namespace LongLora.Checkpoints;

/// <summary>A file or a set of files with named tensors.</summary>
internal interface ITensorSource : IDisposable
{
    /// <summary>Name, shape and type of every tensor, read only from the headers.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>
    /// A tensor of the stored type whose data is the mapped file. It is not a copy. It is valid until the source is disposed, and must not
    /// be written to. The caller disposes the tensor.
    /// </summary>
    /// <exception cref="LongLora.Runtime.CheckpointException">There is no tensor with that name.</exception>
    torch.Tensor Open(string name);

    /// <summary>
    /// Lets <paramref name="use"/> read a tensor once and keeps nothing of it: the pages that were read do not stay in the process.
    /// </summary>
    /// <exception cref="LongLora.Runtime.CheckpointException">There is no tensor with that name.</exception>
    void Visit(string name, Action<torch.Tensor> use)
    {
        using var tensor = Open(name);
        use(tensor);
    }
}
