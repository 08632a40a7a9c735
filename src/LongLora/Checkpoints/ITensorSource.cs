using TorchSharp;

namespace LongLora.Checkpoints;

/// <summary>A file, or a set of files, of named tensors.</summary>
public interface ITensorSource : IDisposable
{
    /// <summary>Name, shape and type of every tensor, read from the headers alone.</summary>
    IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>
    /// A tensor of the stored type whose data are the mapped file: no copy, valid until the source is disposed, not to be written to.
    /// The caller disposes the tensor.
    /// </summary>
    /// <exception cref="LongLora.Runtime.CheckpointException">There is no tensor of that name.</exception>
    torch.Tensor Open(string name);

    /// <summary>
    /// Lets <paramref name="use"/> read a tensor once, and keeps nothing of it: pages of the file that were read do not stay with the
    /// process.
    /// </summary>
    /// <exception cref="LongLora.Runtime.CheckpointException">There is no tensor of that name.</exception>
    void Visit(string name, Action<torch.Tensor> use)
    {
        using var tensor = Open(name);
        use(tensor);
    }
}
