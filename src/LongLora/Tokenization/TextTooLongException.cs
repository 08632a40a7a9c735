namespace LongLora.Tokenization;

/// <summary>A text was given up because it has more tokens than its reader has room for.</summary>
/// <param name="atLeast">How many it has at least; how many exactly was not counted.</param>
internal sealed class TextTooLongException(int atLeast) : Exception($"The text has at least {atLeast:N0} tokens.")
{
    /// <summary>How many it has at least.</summary>
    public int AtLeast => atLeast;
}
