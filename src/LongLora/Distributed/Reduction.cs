namespace LongLora.Distributed;

/// <summary>How the tensors of several ranks become one, element by element.</summary>
internal enum Reduction
{
    /// <summary>Their sum.</summary>
    Sum,

    /// <summary>The largest.</summary>
    Max,
}
