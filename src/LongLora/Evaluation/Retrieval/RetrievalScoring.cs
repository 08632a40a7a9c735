namespace LongLora.Evaluation;

// n prompt tokens, a answer tokens, D model size, V vocabulary

/// <summary>How answers are judged.</summary>
internal enum RetrievalScoring
{
    /// <summary>The model answers in words (greedily), and the words are compared.</summary>
    Generate,

    /// <summary>The right answer must be likelier than every other candidate: for models too small to answer in words.</summary>
    Likelihood,
}
