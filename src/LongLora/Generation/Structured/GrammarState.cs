namespace LongLora.Generation.Structured;

/// <summary>A call that is open: the node that made it, how often its rule was read there before, and the calls around it.</summary>
internal sealed class GrammarFrame(int number, int node, int count, GrammarFrame? parent, int depth)
{
    internal int Number => number;

    internal int Node => node;

    internal int Count => count;

    internal GrammarFrame? Parent => parent;

    /// <summary>Levels of objects and arrays that are open.</summary>
    internal int Depth => depth;

    /// <summary>The frame that stands for all between which no token distinguishes; null until it is found.</summary>
    internal GrammarFrame? Representative { get; set; }
}

/// <summary>A place in the graph: a node that reads a byte, and the calls that are open there.</summary>
internal readonly record struct GrammarPlace(int Node, GrammarFrame? Frame);

/// <summary>All places where a text may stand after what was read.</summary>
internal sealed class GrammarState(GrammarPlace[] places, bool mayEnd, int classes)
{
    internal GrammarPlace[] Places => places;

    /// <summary>Whether what was read is a text of the grammar.</summary>
    internal bool MayEnd => mayEnd;

    /// <summary>Whether nothing can follow.</summary>
    internal bool MustEnd => places.Length == 0;

    /// <summary>The state behind a byte of each class: null where it is not known yet, <see cref="Dead"/> where there is none.</summary>
    internal GrammarState?[] Next { get; } = new GrammarState?[classes];

    /// <summary>The tokens that may follow; null until they are found.</summary>
    internal ulong[]? Tokens { get; set; }

    internal static GrammarState Dead { get; } = new([], false, 0);
}
