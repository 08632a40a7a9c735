namespace LongLora.Data;

/// <summary>How a corpus becomes rows.</summary>
public enum BatchLayout
{
    /// <summary>
    /// Cut every <c>context</c> tokens; documents in a row see each other, as in the paper. The tail that fills no sequence is left out.
    /// </summary>
    Stream,

    /// <summary>Cut every <c>context</c> tokens; documents in a row do not see each other.</summary>
    Documents,

    /// <summary>
    /// Whole documents (examples) one after the other up to <c>batch size * context</c> tokens, without padding; none sees another.
    /// </summary>
    Examples,
}
