namespace LongLora.Tokenization;

/// <summary>
/// Where a text may be cut without changing its tokens: between two characters that follow each other in no token. What a token cannot
/// span, no merge and no best path spans either; so words can be encoded, and remembered, one by one. Only places beside a space sign
/// (U+2581) or a line feed are considered: enough to cut text into words.
/// </summary>
internal sealed class WordBoundary
{
    private readonly char _space;
    private readonly HashSet<(char, char)> _joined = [];

    /// <param name="space">The sign that begins a word.</param>
    /// <param name="tokens">Everything that a token may be.</param>
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

    /// <summary>The end of the word that begins at <paramref name="start"/>.</summary>
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
