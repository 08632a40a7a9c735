using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>Checks the numbers in a stored tensor: one NaN makes a whole model silently wrong.</summary>
public static class TensorNumbers
{
    private const long ElementsPerPiece = 4 << 20;

    /// <summary>Complains of the first element that is NaN or infinite; reads the tensor in pieces of 4 Mi elements.</summary>
    /// <exception cref="CheckpointException">Names file, tensor, place and value.</exception>
    public static void RequireFinite(Tensor tensor, TensorInfo info)
    {
        using var scope = NewDisposeScope();
        var flat = tensor.view(-1);
        for (long start = 0; start < flat.numel(); start += ElementsPerPiece)
        {
            using var inner = NewDisposeScope();
            var piece = flat.narrow(0, start, Math.Min(ElementsPerPiece, flat.numel() - start));
            var finite = piece.isfinite();
            if (finite.all().item<bool>())
                continue;
            var first = finite.logical_not().to(ScalarType.Byte).argmax().item<long>();
            var value = piece[first].to(ScalarType.Float32).item<float>();
            throw new CheckpointException($"{info.File}: '{info.Name}' [{string.Join(", ", info.Shape)}] has {value} at element {start + first}. "
                + "The file is damaged or the model had diverged when it was saved.");
        }
    }
}
