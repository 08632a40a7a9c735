using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// Tokenizes a text as a whole and tells which tokens belong to given spans of it. Special tokens are recognized only if the template wrote
/// them: <c>&lt;/s&gt;</c> in a message is ordinary text. A token that crosses the edge of a span belongs to it.
/// </summary>
internal sealed class MaskedEncoding
{
    private readonly ITokenizer _tokenizer;
    private readonly MarkedText _text;
    private readonly IReadOnlyList<(int Start, int End)> _spans;

    private readonly int _most;

    private MaskedEncoding(ITokenizer tokenizer, MarkedText text, IReadOnlyList<(int Start, int End)> spans, int most) =>
        (_tokenizer, _text, _spans, _most) = (tokenizer, text, spans, most);

    private List<int> Ids { get; } = [];

    private List<bool> Inside { get; } = [];

    /// <summary>Encodes a text.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="text">The text; nothing is added to it.</param>
    /// <param name="spans">Spans of characters, in order and without overlap.</param>
    /// <param name="most">Most ids; a text that has more is given up early.</param>
    /// <returns>The ids, and for each id whether it belongs to a span.</returns>
    /// <exception cref="TextTooLongException">It has more ids.</exception>
    public static (List<int> Ids, List<bool> Inside) Encode(
        ITokenizer tokenizer,
        MarkedText text,
        IReadOnlyList<(int Start, int End)> spans,
        int most = int.MaxValue
    )
    {
        (tokenizer as TextTokenizer)?.RequireUpTo(text.Text, most);
        var encoding = new MaskedEncoding(tokenizer, text, spans, most);
        encoding.Encode();
        if (encoding.Ids.Count > most)
            throw new TextTooLongException(encoding.Ids.Count);
        return (encoding.Ids, encoding.Inside);
    }

    private void Encode()
    {
        var tokenizer = _tokenizer as TextTokenizer;
        var (done, search) = (0, 0);
        while (
            Ids.Count <= _most
            && tokenizer?.SpecialTokens is { } matcher
            && matcher.TryFind(_text.Text, ref search, done, out var start, out var end, out var id)
        )
        {
            var (first, last) = TrimBlanks(start, end);
            if (!IsTemplate(first, last))
                continue;
            start = tokenizer.FindStartOfAbsorbed(_text.Text, done, start, first);
            if (start > done)
                EncodePart(done, start);
            Ids.Add(id);
            Inside.Add(_spans.Any(p => p.Start < last && first < p.End));
            done = tokenizer.FindEndOfAbsorbed(_text.Text, last, end);
        }
        if (done < _text.Length)
            EncodePart(done, _text.Length);
    }

    // A special token may absorb white space around it that somebody else wrote.
    private (int, int) TrimBlanks(int start, int end)
    {
        while (start < end && char.IsWhiteSpace(_text.Text[start]))
            start++;
        while (start < end && char.IsWhiteSpace(_text.Text[end - 1]))
            end--;
        return (start, end);
    }

    private bool IsTemplate(int start, int end)
    {
        for (var i = start; i < end; i++)
        {
            if (_text.GetOwner(i) != MarkedText.Template)
                return false;
        }
        return true;
    }

    private void EncodePart(int start, int end)
    {
        var ids = EncodeText(start, end);
        var inside = new bool[ids.Count];
        foreach (var span in _spans.Where(p => p.Start < end && start < p.End))
        {
            var (first, _) = FindEdge(ids, start, end, Math.Max(start, span.Start));
            var (_, last) = FindEdge(ids, start, end, Math.Min(end, span.End));
            Array.Fill(inside, true, first, Math.Max(0, last - first));
        }
        Ids.AddRange(ids);
        Inside.AddRange(inside);
    }

    // How many tokens end before a character, and how many begin before it.
    private (int Whole, int Begun) FindEdge(List<int> ids, int start, int end, int at)
    {
        if (at == start)
            return (0, 0);
        if (at == end)
            return (ids.Count, ids.Count);
        var head = EncodeText(start, at);
        var same = 0;
        while (same < head.Count && same < ids.Count && head[same] == ids[same])
            same++;
        if (same == head.Count)
            return (same, same);
        // A token crosses the edge, or the tokens before it are split differently. Compares lengths of text from a few tokens before.
        var from = Math.Max(0, same - 4);
        int Length(List<int> tokens, int to) => _tokenizer.Decode([.. tokens[from..to]], skipSpecial: false).Length;
        var length = Length(head, head.Count);
        var whole = same;
        while (whole < ids.Count && Length(ids, whole + 1) <= length)
            whole++;
        return whole < ids.Count && Length(ids, whole) < length ? (whole, whole + 1) : (whole, whole);
    }

    private List<int> EncodeText(int start, int end)
    {
        var part = _text.Text.AsSpan(start, end - start);
        if (_tokenizer is not TextTokenizer tokenizer)
            return [.. _tokenizer.Encode(part)];
        var ids = new List<int>();
        tokenizer.EncodePart(part, start == 0, ids, _most);
        return ids;
    }
}
