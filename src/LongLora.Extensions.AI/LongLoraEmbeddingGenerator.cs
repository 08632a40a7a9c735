using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;

namespace LongLora.Extensions.AI;

/// <summary>
/// A local model as <see cref="IEmbeddingGenerator{TInput, TEmbedding}"/>: the vector of a text is the mean over its tokens of the model's
/// hidden states after the final norm, scaled by nothing.
/// </summary>
/// <remarks>
/// Models are not trained for it, so compare on your own data before you rely on it. Texts wait in the model's queue beside its answers.
/// </remarks>
public sealed class LongLoraEmbeddingGenerator : IEmbeddingGenerator<string, Embedding<float>>
{
    private readonly ModelLease _lease;
    private readonly EmbeddingGeneratorMetadata _metadata;

    /// <summary>A generator over a model that is open.</summary>
    /// <param name="model">The model; it needs no chat template.</param>
    /// <param name="ownsModel">Whether the model is disposed with the generator. Default: it is not.</param>
    public LongLoraEmbeddingGenerator(ChatModel model, bool ownsModel = false)
    {
        ArgumentNullException.ThrowIfNull(model);
        _lease = new ModelLease(model, ownsModel, typeof(LongLoraEmbeddingGenerator));
        _metadata = new EmbeddingGeneratorMetadata("longlora", providerUri: null, model.Name, model.EmbeddingSize);
    }

    /// <summary>Computes the vectors of texts, one text after the other.</summary>
    /// <param name="values">The texts, each of at least one token and no longer than the model's context.</param>
    /// <param name="options">
    /// The model's own name and number of dimensions, or null: there is nothing to choose.
    /// </param>
    /// <param name="cancellationToken">Checked before every text and every chunk of one.</param>
    /// <returns>One vector of <see cref="ChatModel.EmbeddingSize"/> numbers for each text, and the tokens that were read.</returns>
    /// <exception cref="NotSupportedException">The options ask for another model or size, or have additional properties.</exception>
    /// <exception cref="DataException">A text is empty or longer than the context; the message has its number.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values,
        EmbeddingGenerationOptions? options = null,
        CancellationToken cancellationToken = default
    )
    {
        ArgumentNullException.ThrowIfNull(values);
        _lease.ThrowIfDisposed();
        Refuse(options);
        var made = new GeneratedEmbeddings<Embedding<float>>();
        var read = 0L;
        using var stop = _lease.Link(cancellationToken);
        foreach (var text in values)
        {
            var tokens = _lease.Model.Tokenizer.Encode(text, addSpecial: true);
            if (tokens.Count == 0 || tokens.Count > _lease.Model.Context)
                throw new DataException(
                    $"Cannot embed text {made.Count} because it has {tokens.Count:N0} tokens. It must have from 1 to "
                        + $"{_lease.Model.Context:N0}."
                );
            var computing = new ValueTask<float[]>(_lease.Model.EmbedTokensAsync(tokens, stop.Token));
            var vector = await _lease.WaitAsync(computing, cancellationToken).ConfigureAwait(false);
            made.Add(new Embedding<float>(vector) { CreatedAt = DateTimeOffset.UtcNow, ModelId = _lease.Model.Name });
            read += tokens.Count;
        }
        made.Usage = new UsageDetails { InputTokenCount = read, TotalTokenCount = read };
        return made;
    }

    private void Refuse(EmbeddingGenerationOptions? options)
    {
        if (options?.ModelId is { } id && id != _lease.Model.Name)
            throw new NotSupportedException($"Cannot embed with the model '{id}'. There is one, '{_lease.Model.Name}'.");
        if (options?.Dimensions is { } dimensions && dimensions != _lease.Model.EmbeddingSize)
            throw new NotSupportedException(
                $"Cannot make vectors of {dimensions} dimensions. Those of '{_lease.Model.Name}' have {_lease.Model.EmbeddingSize}."
            );
        if (options?.AdditionalProperties is { Count: > 0 } further)
            throw new NotSupportedException(
                $"Cannot follow additional properties ({string.Join(", ", further.Keys)}) because nothing about a vector can be chosen."
            );
        if (options?.RawRepresentationFactory is not null)
            throw new NotSupportedException(
                $"Cannot use {nameof(EmbeddingGenerationOptions.RawRepresentationFactory)} because nothing about a vector can be chosen."
            );
    }

    /// <summary>
    /// <see cref="EmbeddingGeneratorMetadata"/>, the <see cref="ChatModel"/>, or this generator; null for anything else.
    /// </summary>
    /// <param name="serviceType">What is asked for.</param>
    /// <param name="serviceKey">Null: nothing has a key.</param>
    public object? GetService(Type serviceType, object? serviceKey = null) => _lease.Find(serviceType, serviceKey, this, _metadata);

    /// <summary>Ends what this generator computes. If it owns the model, it waits until that is no longer used, and disposes it.</summary>
    public void Dispose() => _lease.Dispose();
}
