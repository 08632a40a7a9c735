using System.Text;

namespace LongLora.Generation;

/// <summary>
/// Passes text on until one of several stop texts appears in it. What may be the beginning of one is held back until it is clear. Text may
/// be hidden, such as special tokens: it is compared with the stop texts but never passed on.
/// </summary>
internal sealed class StopText(IReadOnlyList<string> stops)
{
    private readonly StringBuilder _given = new(),
        _held = new();
    private readonly List<bool> _isHidden = []; // of each held character

    /// <summary>Whether a stop text has appeared.</summary>
    internal bool IsEnded { get; private set; }

    /// <summary>All text that was passed on.</summary>
    internal string Given => _given.ToString();

    /// <summary>Takes more text and returns the visible text that is now certain to come before any stop text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="isHidden">Whether it is never passed on.</param>
    internal string Append(string text, bool isHidden = false)
    {
        if (IsEnded)
            return "";
        _held.Append(text);
        _isHidden.AddRange(Enumerable.Repeat(isHidden, text.Length));
        var held = _held.ToString();
        var first = stops.Select(stop => held.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(-1).Min();
        if (first < 0)
            return Give(held.Length - stops.Select(stop => CountBegun(held, stop)).DefaultIfEmpty(0).Max());
        IsEnded = true;
        var last = Give(first);
        _held.Clear();
        _isHidden.Clear();
        return last;
    }

    /// <summary>Passes text on in which no stop text counts.</summary>
    internal string Pass(string text)
    {
        _given.Append(text);
        return text;
    }

    /// <summary>Returns what was held back, at the end of the text.</summary>
    internal string Finish() => Give(_held.Length);

    private string Give(int count)
    {
        var visible = new StringBuilder();
        for (var i = 0; i < count; i++)
        {
            if (!_isHidden[i])
                visible.Append(_held[i]);
        }
        _held.Remove(0, count);
        _isHidden.RemoveRange(0, count);
        _given.Append(visible);
        return visible.ToString();
    }

    // How many characters at the end are the beginning of this stop text.
    private static int CountBegun(string held, string stop)
    {
        for (var length = Math.Min(stop.Length - 1, held.Length); length > 0; length--)
        {
            if (held.AsSpan().EndsWith(stop.AsSpan(0, length), StringComparison.Ordinal))
                return length;
        }
        return 0;
    }
}
