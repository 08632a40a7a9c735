namespace LongLora.Studies;

/// <summary>What a table of the reproduction shows of its runs.</summary>
internal enum ReproductionColumns
{
    /// <summary>Perplexity and pass key by length.</summary>
    Lengths,

    /// <summary>The same, and what the text at the original context lost.</summary>
    ShortLoss,

    /// <summary>Perplexity at the longest length with full attention and with the pattern of the training.</summary>
    OwnPattern,

    /// <summary>What the training cost.</summary>
    Cost,
}
