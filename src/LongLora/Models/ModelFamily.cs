using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>The chain that a family builds.</summary>
internal sealed record ModelParts(EmbeddingLayer Embedding, IReadOnlyList<DecoderBlock> Blocks, INormLayer FinalNorm, LinearLayer Head);

/// <summary>A model family: how its config becomes layers under their names in a checkpoint.</summary>
/// <param name="Build">Makes the layers.</param>
/// <param name="Head">
/// Name of the output head. A checkpoint of a tied model may contain a copy of the embeddings under this name, which is ignored.
/// </param>
/// <param name="IsIgnored">Selects stored tensors that are computed here from the config, such as old rotary tables and masks.</param>
internal sealed record ModelFamily(Func<ModelConfig, LayerBuilder, ModelParts> Build, string Head, Predicate<string> IsIgnored);
