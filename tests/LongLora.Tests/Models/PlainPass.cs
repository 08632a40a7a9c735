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
            var (query, key, value, _) = block.Project(block.AttentionNorm.Forward(hidden), 0, block.HeadGroups, context);
            var heads = block.Adapt(context.Attention).Attend(query, key, value, context.DocumentLengths);
            var attended = hidden + block.AttentionEnd.Forward(block.AttentionOutput.Forward(heads.transpose(1, 2).flatten(2, 3)));
            hidden = attended + block.MlpEnd.Forward(block.Mlp.Forward(block.MlpNorm.Forward(block.IsParallel ? hidden : attended)));
        }
        return model.ApplyHead(model.FinalNorm.Forward(hidden));
    }

    internal static Tensor Loss(CausalLanguageModel model, Tensor ids, Tensor targets, ForwardContext context)
    {
        var logits = Logits(model, ids, context);
        return nn.functional.cross_entropy(logits.view(-1, logits.size(2)), targets, ignore_index: -100);
    }
}
