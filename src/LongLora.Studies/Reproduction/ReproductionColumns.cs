namespace LongLora.Studies;

/// <summary>The columns of a table.</summary>
internal enum ReproductionColumns
{
    /// <summary>Perplexity and pass key by length.</summary>
    Lengths,

    /// <summary>The same, and the change on text at the original context.</summary>
    ShortLoss,

    /// <summary>Perplexity at the longest length with full attention and with the training's pattern.</summary>
    OwnPattern,

    /// <summary>The cost of training.</summary>
    Cost,
}
