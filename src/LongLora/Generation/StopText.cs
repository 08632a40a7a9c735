using System.Text;

namespace LongLora.Generation;

/// <summary>
/// Passes text on until one of several texts appears in it; what may be the beginning of one is held back until it is clear.
/// </summary>
internal sealed class StopText(IReadOnlyList<string> stops)
{
    private readonly StringBuilder _given = new();
    private string _held = "";

    /// <summary>Whether a stop text has appeared.</summary>
    internal bool IsEnded { get; private set; }

    /// <summary>All text that was passed on.</summary>
    internal string Given => _given.ToString();

    /// <summary>Takes more text and returns what of all so far is certain to stand before any stop text.</summary>
    internal string Append(string text)
    {
        if (IsEnded)
            return "";
        _held += text;
        var first = stops.Select(stop => _held.IndexOf(stop, StringComparison.Ordinal)).Where(at => at >= 0).DefaultIfEmpty(-1).Min();
        if (first >= 0)
        {
            IsEnded = true;
            _held = _held[..first];
            return Finish();
        }
        var certain = _held.Length - stops.Select(Begun).DefaultIfEmpty(0).Max();
        var given = _held[..certain];
        _held = _held[certain..];
        _given.Append(given);
        return given;
    }

    /// <summary>Ends the text: what was held back.</summary>
    internal string Finish()
    {
        var rest = _held;
        _held = "";
        _given.Append(rest);
        return rest;
    }

    // How many characters at the end are the beginning of this stop text.
    private int Begun(string stop)
    {
        for (var length = Math.Min(stop.Length - 1, _held.Length); length > 0; length--)
        {
            if (_held.EndsWith(stop[..length], StringComparison.Ordinal))
                return length;
        }
        return 0;
    }
}
