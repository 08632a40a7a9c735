namespace LongLora.Configs;

/// <summary>An input of each token for each layer, beside the residual stream (Gemma 4's small sizes).</summary>
internal sealed record TokenInputConfig
{
    /// <summary>P, its size in one layer (<c>hidden_size_per_layer_input</c>).</summary>
    public required int Size { get; init; }

    /// <summary>Rows of its table (<c>vocab_size_per_layer_input</c>).</summary>
    public required int VocabularySize { get; init; }
}
