namespace LongLora.Data;

/// <summary>What a generated document practises.</summary>
public enum PracticeKind
{
    /// <summary>A stretch of random words, again and again: what makes heads that copy form.</summary>
    Repetition,

    /// <summary>Facts of random content, and all of them asked for in another order.</summary>
    Facts,

    /// <summary>A pass key in irrelevant sentences (Landmark Attention, arXiv 2305.16300; LongLoRA's wording).</summary>
    PassKey,

    /// <summary>A record of lines with numbers, some asked for (LongChat's wording).</summary>
    Lines,

    /// <summary>A record of conversations, whose first topic is asked for (LongChat's wording).</summary>
    Topics,

    /// <summary>The same with several turns on each topic and an answer in a sentence, as LongChat's evaluation asks.</summary>
    Conversations,
}
