using LongLora.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>The slow obvious way: the whole graph under autograd, the whole logits, PyTorch's own cross-entropy.</summary>
internal static class PlainPass
{
    internal static Tensor Logits(CausalLanguageModel model, Tensor ids, ForwardContext context)
    {
        var hidden = model.Embedding.Forward(ids, ScalarType.Float32);
        foreach (var block in model.Blocks)
        {
            var normed = block.AttentionNorm.Forward(hidden);
            var heads = block.Recurrence is null ? Attend(block, normed, context) : Recur(block.Recurrence, normed, context);
            if (block.HasGate)
                heads = heads * block.ComputeGate(normed).view(heads.shape);
            var attended = hidden + block.AttentionEnd.Forward(block.AttentionOutput.Forward(heads));
            hidden = attended + block.MlpEnd.Forward(block.Mlp.Forward(block.MlpNorm.Forward(block.IsParallel ? hidden : attended)));
        }
        return model.ApplyHead(model.FinalNorm.Forward(hidden));
    }

    private static Tensor Attend(DecoderBlock block, Tensor normed, ForwardContext context)
    {
        var (query, key, value, _) = block.Project(normed, 0, block.HeadGroups, context);
        return block.Adapt(context.Attention).Attend(query, key, value, context.DocumentLengths).transpose(1, 2).flatten(2, 3);
    }

    // Document by document, each whole.
    private static Tensor Recur(Recurrence recurrence, Tensor normed, ForwardContext context)
    {
        if (context.DocumentLengths is not { } rows)
            return recurrence.Run(normed, recurrence.Begin(normed.size(0), normed.device)).Output;
        var outputs = new List<Tensor>();
        for (var row = 0; row < rows.Count; row++)
        {
            var (start, parts) = (0, new List<Tensor>());
            foreach (var length in rows[row])
            {
                var document = normed.narrow(0, row, 1).narrow(1, start, length);
                parts.Add(recurrence.Run(document, recurrence.Begin(1, normed.device)).Output);
                start += length;
            }
            outputs.Add(cat(parts, 1));
        }
        return cat(outputs, 0);
    }

    internal static Tensor Loss(CausalLanguageModel model, Tensor ids, Tensor targets, ForwardContext context)
    {
        var logits = Logits(model, ids, context);
        return nn.functional.cross_entropy(logits.view(-1, logits.size(2)), targets, ignore_index: -100);
    }
}
