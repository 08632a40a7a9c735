using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

// N rows (B L), D model size, V vocabulary, C rows in a chunk

/// <summary>
/// Final norm, output head and cross-entropy for training: loss and gradient in one pass over chunks of rows, so only one chunk of logits
/// exists at a time. With a vocabulary of 32,000, all logits of 100k tokens would take 12.8 GB; a chunk takes 32 MB.
/// </summary>
internal static class ChunkedCrossEntropy
{
    // 32 MiB in fp32, which the C allocator keeps for the next chunk. A GPU needs larger chunks.
    private static long CountLogits(bool cuda) => cuda ? 64 << 20 : 8 << 20;

    /// <summary>Rows per chunk for a vocabulary size.</summary>
    /// <param name="vocabulary">V.</param>
    /// <param name="cuda">Whether on CUDA.</param>
    public static long CountChunkRows(long vocabulary, bool cuda = false) => Math.Max(64, CountLogits(cuda) / vocabulary);

    /// <summary>Adds the gradients of norm and head, and turns the hidden states into their gradient, in place.</summary>
    /// <param name="model">Gives the final norm and the head.</param>
    /// <param name="hidden">
    /// [B, L, D], the last block's output; becomes the gradient of the summed loss times <paramref name="scale"/>.
    /// </param>
    /// <param name="targets">[B L] ids to predict in each row; negative where there is nothing to predict.</param>
    /// <param name="scale">Factor on all gradients, such as 1 / number of targets.</param>
    /// <returns>Sum of -log p(target), [] fp64.</returns>
    public static Tensor Run(CausalLanguageModel model, Tensor hidden, Tensor targets, double scale)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var rows = hidden.view(-1, hidden.size(2));
        var lossSum = zeros([], ScalarType.Float64, hidden.device);
        long count = rows.size(0),
            chunk = CountChunkRows(model.Head.OutputSize, model.Device.type == TorchSharp.DeviceType.CUDA);
        for (long start = 0; start < count; start += chunk)
        {
            RunChunk(
                model,
                rows.narrow(0, start, Math.Min(chunk, count - start)),
                targets.narrow(0, start, Math.Min(chunk, count - start)),
                scale,
                lossSum
            );
            HostMemory.TrimIfGrown();
            Liveness.Tick();
        }
        return lossSum.MoveToOuterDisposeScope();
    }

    private static void RunChunk(CausalLanguageModel model, Tensor piece, Tensor targets, double scale, Tensor lossSum)
    {
        using var scope = NewDisposeScope();
        var normed = model.FinalNorm.Forward(piece); // -> [C, D]
        var logits = model.ApplyHead(normed);
        var slope = model.ComputeLogitSlope(logits);
        var (loss, logitsGradient) = ComputeLossAndGradient(logits, targets, scale);
        lossSum.add_(loss, Scalars.One);
        if (slope is not null)
            logitsGradient = logitsGradient.mul(slope).to(logitsGradient.dtype);
        model.Head.AccumulateGradients(normed, logitsGradient);
        piece.copy_(model.FinalNorm.Backward(piece, model.Head.ComputeInputGradient(logitsGradient)));
    }

    /// <summary>Sum of -log p(target) over rows of logits, without gradients: for evaluation.</summary>
    /// <param name="logits">[C, V].</param>
    /// <param name="targets">[C]; negative where there is nothing to predict.</param>
    /// <returns>[C] fp64, zero where there is nothing to predict.</returns>
    public static Tensor ComputeLosses(Tensor logits, Tensor targets)
    {
        using var scope = NewDisposeScope();
        var wide = logits.to(ScalarType.Float32);
        var picked = wide.gather(1, targets.clamp(min: Scalars.Zero).unsqueeze(1)).squeeze(1).to(ScalarType.Float64);
        var losses = wide.logsumexp(1).to(ScalarType.Float64) - picked;
        return losses.mul_(targets.ge(Scalars.Zero)).MoveToOuterDisposeScope();
    }

    // softmax minus one-hot, made in the memory of the logits: logits - max, exp, times mask * scale / sum, minus mask * scale at the
    // target.
    private static (Tensor Loss, Tensor Gradient) ComputeLossAndGradient(Tensor raw, Tensor targets, double scale)
    {
        if (HostLoop.Takes(raw) && raw.is_contiguous())
            return ComputeInLoop(raw, targets, scale);
        var logits = raw.to(ScalarType.Float32);
        var counted = targets.ge(Scalars.Zero).to(ScalarType.Float32).unsqueeze(1);
        var index = targets.clamp(min: Scalars.Zero).unsqueeze(1);
        logits.sub_(logits.amax([1], keepdim: true));
        var picked = logits.gather(1, index);
        logits.exp_();
        var sum = logits.sum(1, keepdim: true);
        var loss = (sum.log() - picked).mul_(counted).sum(ScalarType.Float64);
        logits.mul_(counted.mul(Scalars.Of(scale)).div_(sum));
        logits.scatter_add_(1, index, counted.mul(Scalars.Of(-scale)));
        return (loss, logits.to(raw.dtype));
    }

    // The same, one row after the other.
    private static unsafe (Tensor Loss, Tensor Gradient) ComputeInLoop(Tensor logits, Tensor targets, double scale)
    {
        var (count, size) = (logits.size(0), logits.size(1));
        var (losses, ids) = (zeros([count], ScalarType.Float64), HostLoop.Lay(targets));
        var rows = new RowsAt(logits);
        var wanted = (long*)NativeTensor.GetPointer(ids);
        var lossAt = (double*)NativeTensor.GetPointer(losses);
        HostLoop.ForRows(count, size, (first, some) =>
        {
            var room = HostLoop.GetRoom(size);
            for (var row = first; row < first + some; row++)
            {
                var own = rows.Read(row, size, room);
                if (wanted[row] < 0)
                    new Span<float>(own, (int)size).Clear();
                else
                    lossAt[row] = SoftmaxRow.Differentiate(own, size, wanted[row], (float)scale);
                rows.Close(row, size, own);
            }
        });
        GC.KeepAlive(ids);
        return (losses.sum(), logits);
    }
}
