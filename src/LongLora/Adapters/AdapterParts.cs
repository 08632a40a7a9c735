using LongLora.Layers;

namespace LongLora.Adapters;

/// <summary>The parts of an adapter, ready to be attached.</summary>
internal sealed record AdapterParts
{
    /// <summary>LoRA by the name of its layer.</summary>
    internal Dictionary<string, LoraAdapter> Pairs { get; init; } = [];

    /// <summary>Weights of the model that are trained, or were replaced by trained ones.</summary>
    internal IReadOnlyList<Weight> ModelWeights { get; init; } = [];

    /// <summary>LoRA on the matrices of experts.</summary>
    internal IReadOnlyList<ExpertLora> Experts { get; init; } = [];

    /// <summary>LoRA on the token table.</summary>
    internal EmbeddingLora? Table { get; init; }

    /// <summary>Whether a tied head also uses the table's LoRA, with the same weights.</summary>
    internal bool TableServesHead { get; init; }

    /// <summary>Trained rows of the token table; a tied head also uses them.</summary>
    internal TokenRows? TableRows { get; init; }

    /// <summary>Trained rows of a separate head.</summary>
    internal TokenRows? HeadRows { get; init; }

    /// <summary>The config that it was read with; null for a new adapter.</summary>
    internal PeftConfig? Config { get; init; }

    /// <summary>Whether linear positions were assumed, because neither the files nor the reader say how they were rescaled.</summary>
    internal bool AssumesLinear { get; init; }

    /// <summary>Tensors that the config names but the files lack.</summary>
    internal IReadOnlyList<string> Missing { get; init; } = [];
}
