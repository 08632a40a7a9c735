using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A trained change of a token table, such as LoRA on it, or separate rows for some tokens.</summary>
internal interface IEmbeddingUpdate
{
    /// <summary>Changes the rows [N, D] that were looked up for ids [N], in place; differentiable in its own weights.</summary>
    void ApplyTo(Tensor rows, Tensor ids);

    /// <summary>Adds the gradients of its own trained weights for the gradient [N, D] of the rows.</summary>
    void AccumulateGradients(Tensor ids, Tensor gradient);

    /// <summary>The table that gives the same rows without the update: [V, D] in fp32.</summary>
    /// <param name="table">[V, D] in fp32, a copy that may be changed.</param>
    Tensor Merge(Tensor table);

    /// <summary>The same change for a head that is tied to the table, with the same weights. It is always the same object.</summary>
    ILinearUpdate ForTiedHead { get; }
}
