namespace LongLora.Data;

/// <summary>What a generated document practices.</summary>
public enum PracticeKind
{
    /// <summary>A passage of random words, repeated many times: it teaches attention heads to copy.</summary>
    Repetition,

    /// <summary>Random facts, followed by questions for all of them in another order.</summary>
    Facts,

    /// <summary>A pass key between irrelevant sentences (Landmark Attention, arXiv 2305.16300; LongLoRA's wording).</summary>
    PassKey,

    /// <summary>A record of lines with numbers, and questions for some of them (LongChat's wording).</summary>
    Lines,

    /// <summary>A record of conversations, and a question for the first topic (LongChat's wording).</summary>
    Topics,

    /// <summary>The same with several messages on each topic and the answer in a sentence, as in LongChat's evaluation.</summary>
    Conversations,
}
