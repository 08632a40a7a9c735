namespace LongLora.Tokenization;

/// <summary>
/// Where a text can be split without changing its tokens: between two characters that do not follow each other in any token. If no token
/// spans the position, no merge and no best path does. So words can be encoded and remembered one by one. Only positions next to a space
/// sign (U+2581) or a line feed are considered, which is enough to split text into words.
/// </summary>
internal sealed class WordBoundary
{
    private readonly char _space;
    private readonly HashSet<(char, char)> _joined = [];

    /// <param name="space">The sign that begins a word.</param>
    /// <param name="tokens">The texts of all tokens.</param>
    public WordBoundary(char space, IEnumerable<string> tokens)
    {
        _space = space;
        foreach (var token in tokens)
        {
            for (var i = 1; i < token.Length; i++)
            {
                if (token[i] == space || token[i] == '\n' || token[i - 1] == '\n')
                    _joined.Add((token[i - 1], token[i]));
            }
        }
    }

    /// <summary>The end of the word that starts at <paramref name="start"/>.</summary>
    public int FindNext(ReadOnlySpan<char> text, int start)
    {
        var end = start + 1;
        while (end < text.Length)
        {
            if (text[end - 1] != '\n')
            {
                var skip = text[end..].IndexOfAny(_space, '\n');
                if (skip < 0)
                    return text.Length;
                end += skip;
            }
            if (!_joined.Contains((text[end - 1], text[end])))
                return end;
            end++;
        }
        return text.Length;
    }
}
