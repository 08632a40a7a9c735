namespace LongLora.Data;

/// <summary>How a corpus becomes rows.</summary>
public enum BatchLayout
{
    /// <summary>
    /// Cut every <c>context</c> tokens; documents in a row attend to each other, as in the paper. An incomplete sequence at the end is
    /// dropped.
    /// </summary>
    Stream,

    /// <summary>Cut every <c>context</c> tokens; documents in a row do not attend to each other.</summary>
    Documents,

    /// <summary>
    /// Whole documents (examples) one after the other up to <c>batch size * context</c> tokens, without padding; none attends to another.
    /// </summary>
    Examples,
}
