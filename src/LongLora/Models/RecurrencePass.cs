using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, D model size, W width of the recurrence

/// <summary>
/// The part of <see cref="BlockPass"/> for blocks with a recurrent state: documents are read span by span. The states between
/// the spans are kept, and the backward pass runs each span again, from the last to the first.
/// </summary>
internal static class RecurrencePass
{
    /// <summary>Tokens of a span: its graph exists while it is run backward.</summary>
    private const int SpanTokens = 2048;

    /// <summary>The output [B, 1, L, W] for <see cref="DecoderBlock.AttentionOutput"/>, and the states instead of log-sum-exps.</summary>
    internal static AttentionResult Forward(DecoderBlock block, Tensor hidden, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        var recurrence = block.Recurrence!;
        var output = HostMemory
            .AllocateApart(() => empty([hidden.size(0), hidden.size(1), 1, recurrence.Width], hidden.dtype, hidden.device))
            .transpose(1, 2);
        var states = new List<Tensor>();
        foreach (var document in Split(hidden, context))
        {
            var state = recurrence.Begin(document.RowCount, hidden.device);
            foreach (var (start, count) in document.Spans)
            {
                using var inner = NewDisposeScope();
                if (start > document.Start)
                    states.AddRange([Keep(state.Tail), Keep(state.Memory)]);
                var (part, next) = recurrence.Run(block.AttentionNorm.Forward(document.Select(hidden, start, count)), state);
                document.Select(output.squeeze(1), start, count).copy_(part);
                state = new(next.Tail.MoveToOuterDisposeScope(), next.Memory.MoveToOuterDisposeScope());
            }
        }
        // Never empty, because a store keeps it.
        var kept = states.Count == 0 ? zeros(1) : cat(states);
        return new(output.MoveToOuterDisposeScope(), kept.MoveToOuterDisposeScope());
    }

    /// <summary>Adds the gradient of the norm's output to <paramref name="normedGradient"/>, and those of the weights.</summary>
    /// <param name="block">The block.</param>
    /// <param name="input">[B, L, D], the block's input.</param>
    /// <param name="attended">What <see cref="Forward"/> returned.</param>
    /// <param name="outputGradient">[B L, D], of the output projection's result.</param>
    /// <param name="normedGradient">[B, L, D]; changed.</param>
    /// <param name="context">As given to Forward.</param>
    internal static void Backward(
        DecoderBlock block,
        Tensor input,
        AttentionResult attended,
        Tensor outputGradient,
        Tensor normedGradient,
        ForwardContext context
    )
    {
        using var scope = NewDisposeScope();
        var (recurrence, gradients, at) = (block.Recurrence!, outputGradient.view(input.shape), 0L);
        foreach (var document in Split(input, context))
        {
            var begin = recurrence.Begin(document.RowCount, input.device);
            Tensor Take(Tensor like)
            {
                var part = attended.LogSumExp!.narrow(0, at, like.numel()).view(like.shape).to(like.dtype);
                at += like.numel();
                return part;
            }
            var states = document
                .Spans.Select((_, i) => i == 0 ? begin : new RecurrentState(Take(begin.Tail), Take(begin.Memory)))
                .ToList();
            RecurrentState? stateGradient = null;
            foreach (var ((start, count), state) in document.Spans.Zip(states).Reverse())
            {
                using var inner = NewDisposeScope();
                Tensor Leaf(Tensor value) => value.detach().requires_grad_(true);
                var (tail, memory) = (Leaf(state.Tail), Leaf(state.Memory));
                var normed = Leaf(block.AttentionNorm.Forward(document.Select(input, start, count)));
                var gradient = block
                    .AttentionOutput.ComputeInputGradient(document.Select(gradients, start, count).reshape(-1, input.size(2)))
                    .view(document.RowCount, count, -1);
                using (enable_grad())
                {
                    var (part, next) = recurrence.Run(normed, new(tail, memory));
                    if (stateGradient is { } known)
                        autograd.backward([part, next.Tail, next.Memory], [gradient, known.Tail, known.Memory]);
                    else
                        part.backward([gradient]);
                }
                document.Select(normedGradient, start, count).add_(normed.grad!, Scalars.One);
                stateGradient = new(tail.grad!.MoveToOuterDisposeScope(), memory.grad!.MoveToOuterDisposeScope());
            }
        }
    }

    private static Tensor Keep(Tensor state) => state.to(ScalarType.Float32, copy: true).flatten().MoveToOuterDisposeScope();

    private static IEnumerable<Document> Split(Tensor hidden, ForwardContext context)
    {
        if (context.DocumentLengths is not { } rows)
        {
            yield return new(0, (int)hidden.size(0), 0, (int)hidden.size(1));
            yield break;
        }
        for (var row = 0; row < rows.Count; row++)
        {
            var start = 0;
            foreach (var length in rows[row].Where(l => l > 0))
            {
                yield return new(row, 1, start, length);
                start += length;
            }
        }
    }

    private readonly record struct Document(int Row, int RowCount, int Start, int Length)
    {
        internal IEnumerable<(int Start, int Count)> Spans
        {
            get
            {
                for (var start = Start; start < Start + Length; start += SpanTokens)
                    yield return (start, Math.Min(SpanTokens, Start + Length - start));
            }
        }

        internal Tensor Select(Tensor all, int start, int count) => all.narrow(0, Row, RowCount).narrow(1, start, count);
    }
}
