using System.Text;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// A text that knows for each character whether the template wrote it or which message it came from. So a rendered conversation has the
/// exact positions of its answers, and special tokens that somebody typed into a message stay ordinary text.
/// </summary>
internal sealed class MarkedText
{
    /// <summary>The owner of text that a template wrote.</summary>
    public const short Template = 0;

    private readonly short[]? _owners;

    private MarkedText(string text, short[]? owners) => (Text, _owners) = (text, owners);

    /// <summary>The empty text.</summary>
    public static MarkedText Empty { get; } = new("", null);

    public string Text { get; }

    public int Length => Text.Length;

    /// <summary>A text with one owner.</summary>
    public static MarkedText Of(string text, short owner = Template)
    {
        if (owner == Template)
            return new(text, null);
        var owners = new short[text.Length];
        Array.Fill(owners, owner);
        return new(text, owners);
    }

    /// <summary>The owner of a character: <see cref="Template"/>, or the number of a message.</summary>
    public short GetOwner(int index) => _owners is null ? Template : _owners[index];

    /// <summary>The message that some of the text came from, or <see cref="Template"/>.</summary>
    public short AnyOwner => _owners?.FirstOrDefault(o => o != Template) ?? Template;

    /// <summary>What the template wrote: [start, end) in characters, in order.</summary>
    public IReadOnlyList<(int Start, int End)> FindTemplate()
    {
        var runs = new List<(int Start, int End)>();
        for (var i = 0; i < Length; i++)
        {
            if (GetOwner(i) != Template)
                continue;
            if (runs.Count > 0 && runs[^1].End == i)
                runs[^1] = (runs[^1].Start, i + 1);
            else
                runs.Add((i, i + 1));
        }
        return runs;
    }

    public MarkedText Slice(int start, int length)
    {
        if (start == 0 && length == Length)
            return this;
        JinjaWork.SpendText(length);
        return new(Text.Substring(start, length), _owners?[start..(start + length)]);
    }

    /// <summary>Another text of the same length whose characters correspond, such as the upper case.</summary>
    public MarkedText With(string text)
    {
        JinjaWork.SpendText(text.Length);
        return text.Length == Length ? new(text, _owners) : Of(text, AnyOwner);
    }

    public MarkedText TrimStart(string characters) =>
        CountTrimmedStart(characters) is var start && start > 0 ? Slice(start, Length - start) : this;

    public MarkedText TrimEnd(string characters) => Slice(0, Text.TrimEnd(characters.ToCharArray()).Length);

    public List<MarkedText> Split(string separator, int limit = int.MaxValue)
    {
        JinjaWork.SpendSearch(Length, separator.Length);
        var parts = new List<MarkedText>();
        var from = 0;
        while (parts.Count < limit && Text.IndexOf(separator, from, StringComparison.Ordinal) is >= 0 and var at)
        {
            JinjaWork.SpendItems(1);
            parts.Add(Slice(from, at - from));
            from = at + separator.Length;
        }
        parts.Add(Slice(from, Length - from));
        return parts;
    }

    public static MarkedText Join(IEnumerable<MarkedText> parts, MarkedText? separator = null)
    {
        var writer = new MarkedWriter();
        var first = true;
        foreach (var part in parts)
        {
            if (!first && separator is not null)
                writer.Write(separator);
            writer.Write(part);
            first = false;
        }
        return writer.ToText();
    }

    private int CountTrimmedStart(string characters) => Length - Text.TrimStart(characters.ToCharArray()).Length;

    public override bool Equals(object? obj) => obj is MarkedText other && other.Text == Text;

    public override int GetHashCode() => Text.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Text;

    /// <summary>Joins texts.</summary>
    internal sealed class MarkedWriter
    {
        private readonly StringBuilder _text = new();
        private readonly List<(int Start, short[] Owners)> _owned = [];

        public int Length => _text.Length;

        public void Write(MarkedText text)
        {
            JinjaWork.SpendText(text.Length);
            if (text._owners is not null)
                _owned.Add((_text.Length, text._owners));
            _text.Append(text.Text);
        }

        public MarkedText ToText()
        {
            if (_owned.Count == 0)
                return new(_text.ToString(), null);
            var owners = new short[_text.Length];
            foreach (var (start, part) in _owned)
                part.CopyTo(owners, start);
            return new(_text.ToString(), owners);
        }
    }
}
