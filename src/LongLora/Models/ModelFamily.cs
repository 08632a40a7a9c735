using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>The chain that a family builds.</summary>
internal sealed record ModelParts(EmbeddingLayer Embedding, IReadOnlyList<DecoderBlock> Blocks, INormLayer FinalNorm, LinearLayer Head)
{
    /// <summary>Creates per-layer inputs for each token; null if there are none.</summary>
    internal TokenInputs? TokenInputs { get; init; }
}

/// <summary>A model family: how its config becomes layers under their names in a checkpoint.</summary>
/// <param name="Build">Makes the layers.</param>
/// <param name="Embedding">Name of the embeddings.</param>
/// <param name="Head">
/// Name of the output head: a checkpoint of a tied model may hold a copy of the embeddings under it, which nobody reads, or a head of its
/// own, which is used.
/// </param>
/// <param name="IsIgnored">Stored tensors that are computed here from the config, such as old rotary tables and masks.</param>
internal sealed record ModelFamily(
    Func<ModelConfig, LayerBuilder, ModelParts> Build,
    string Embedding,
    string Head,
    Predicate<string> IsIgnored
);
