namespace LongLora.Generation.Structured;

/// <summary>What happens at a node of a grammar's graph.</summary>
internal enum GrammarStep
{
    /// <summary>One byte of a set is read.</summary>
    Byte,

    /// <summary>The text goes on at any of several nodes.</summary>
    Split,

    /// <summary>A rule is read, and then the next node.</summary>
    Call,

    /// <summary>A rule is read a number of times, and then the next node.</summary>
    Repeat,

    /// <summary>A rule ends.</summary>
    Return,
}

/// <summary>A node of a grammar's graph.</summary>
/// <param name="Step">What happens.</param>
/// <param name="Set">Bytes of a <see cref="GrammarStep.Byte"/>.</param>
/// <param name="Next">The node behind it; -1 where there is none.</param>
/// <param name="Rule">Rule of a <see cref="GrammarStep.Call"/> or <see cref="GrammarStep.Repeat"/>.</param>
/// <param name="Least">Fewest times.</param>
/// <param name="Most">Most times; null for no bound.</param>
internal sealed record GrammarNode(
    GrammarStep Step,
    ByteSet Set = default,
    int Next = -1,
    GrammarRule? Rule = null,
    int Least = 0,
    int? Most = null
)
{
    /// <summary>Nodes of a <see cref="GrammarStep.Split"/>.</summary>
    internal List<int> Choices { get; init; } = [];
}
