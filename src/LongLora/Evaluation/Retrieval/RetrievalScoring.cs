namespace LongLora.Evaluation;

// n prompt tokens, a answer tokens, D model size, V vocabulary

/// <summary>How answers are judged.</summary>
internal enum RetrievalScoring
{
    /// <summary>The model writes its answer (greedily), and the text is compared.</summary>
    Generate,

    /// <summary>
    /// The correct answer must be more likely than every other candidate. For models that are too small to answer in words.
    /// </summary>
    Likelihood,
}
