using LongLora.Generation;
using Microsoft.Extensions.AI;

namespace LongLora.Extensions.AI;

/// <summary>A short way to an <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/> over a local model.</summary>
public static class LongLoraEmbeddingGeneratorExtensions
{
    /// <summary>The model as a generator of embeddings.</summary>
    /// <param name="model">The model; it needs no chat template.</param>
    /// <param name="ownsModel">Whether the model is disposed with the generator. Default: it is not.</param>
    public static IEmbeddingGenerator<string, Embedding<float>> AsIEmbeddingGenerator(this ChatModel model, bool ownsModel = false) =>
        new LongLoraEmbeddingGenerator(model, ownsModel);
}
