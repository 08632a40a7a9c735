using System.Globalization;

namespace LongLora.Generation.Structured;

/// <summary>
/// Reads the regular expressions of JSON schemas (ECMA-262): characters, classes, groups, alternatives, repetitions, and <c>^</c> and
/// <c>$</c> at the ends. What is not regular, such as a reference back or a look ahead, is refused.
/// </summary>
internal sealed class PatternReader
{
    private const int MostRepeats = 1_000,
        MostDepth = 100,
        MostNodes = 50_000;
    private static readonly CharacterSet s_digits = CharacterSet.Of(('0', '9')),
        s_word = CharacterSet.Of(('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')),
        s_space = CharacterSet.Of(
            (9, 13),
            (0x20, 0x20),
            (0xA0, 0xA0),
            (0x1680, 0x1680),
            (0x2000, 0x200A),
            (0x2028, 0x2029),
            (0x202F, 0x202F),
            (0x205F, 0x205F),
            (0x3000, 0x3000),
            (0xFEFF, 0xFEFF)
        ),
        s_lineEnds = CharacterSet.Of((10, 10), (13, 13), (0x2028, 0x2029));

    private readonly int[] _pattern;
    private readonly List<Node> _nodes = [];
    private int _at;
    private int _depth;

    private PatternReader(string pattern) => _pattern = [.. pattern.EnumerateRunes().Select(r => r.Value)];

    /// <summary>The texts in which a pattern is found.</summary>
    /// <exception cref="GrammarException">It has an error, or uses what is not supported.</exception>
    internal static CharacterAutomaton Read(string pattern)
    {
        var reader = new PatternReader(pattern);
        var end = reader.Add(null);
        var start = reader.ReadSearch(end);
        return reader.Determine(start, end);
    }

    // Each alternative may be bound to the beginning and the end of the text.
    private int ReadSearch(int end)
    {
        var starts = new List<int>();
        do
        {
            var isBegun = Skip('^');
            // Read with an end of its own: whether '$' follows is known afterwards.
            var behind = Add(null);
            var start = ReadSequence(behind);
            if (Skip('$'))
                _nodes[behind].Free.Add(end);
            else
                _nodes[behind].Free.Add(Anything(end));
            if (!isBegun)
            {
                var before = Add(null);
                _nodes[before].Free.AddRange([Add(CharacterSet.All, before), start]);
                start = before;
            }
            starts.Add(start);
        } while (Skip('|'));
        if (_at < _pattern.Length)
            throw Refuse(Current == ')' ? "a group ends that was not begun" : $"'{Shown}' cannot stand there");
        var all = Add(null);
        _nodes[all].Free.AddRange(starts);
        return all;
    }

    private int Anything(int end)
    {
        var loop = Add(null);
        _nodes[loop].Free.AddRange([Add(CharacterSet.All, loop), end]);
        return loop;
    }

    private int ReadAlternatives(int next)
    {
        var all = Add(null);
        do _nodes[all].Free.Add(ReadSequence(next));
        while (Skip('|'));
        return all;
    }

    // Parts are read first and joined from the last to the first.
    private int ReadSequence(int next)
    {
        var parts = new List<Func<int, int>>();
        while (_at < _pattern.Length && Current is not ('|' or ')'))
        {
            if (Current == '$')
            {
                if (_depth == 0 && (_at + 1 == _pattern.Length || _pattern[_at + 1] == '|'))
                    break;
                throw Refuse("'$' is supported at the end of the pattern alone");
            }
            parts.Add(ReadRepeated());
        }
        for (var i = parts.Count - 1; i >= 0; i--)
            next = parts[i](next);
        return next;
    }

    private Func<int, int> ReadRepeated()
    {
        var part = ReadPart();
        while (_at < _pattern.Length)
        {
            var (least, most) = (0, (int?)null);
            if (Skip('?'))
                most = 1;
            else if (Skip('+'))
                least = 1;
            else if (Current == '{' && TryReadBounds(out least, out most)) { }
            else if (!Skip('*'))
                break;
            Skip('?'); // a lazy repetition has the same texts
            var (repeated, fewest, highest) = (part, least, most);
            part = next => Repeat(repeated, fewest, highest, next);
        }
        return part;
    }

    private int Repeat(Func<int, int> part, int least, int? most, int next)
    {
        int last;
        if (most is null)
        {
            last = Add(null);
            _nodes[last].Free.AddRange([part(last), next]);
        }
        else
        {
            last = next;
            for (var i = least; i < most; i++)
            {
                var optional = Add(null);
                _nodes[optional].Free.AddRange([part(last), next]);
                last = optional;
            }
        }
        for (var i = 0; i < least; i++)
            last = part(last);
        return last;
    }

    private bool TryReadBounds(out int least, out int? most)
    {
        (least, most) = (0, null);
        var close = Array.IndexOf(_pattern, '}', _at);
        var text = close < 0 ? "" : string.Concat(_pattern[(_at + 1)..close].Select(char.ConvertFromUtf32));
        var parts = text.Split(',');
        if (parts.Length > 2 || !int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out least))
            throw Refuse($"'{{{text}' is no repetition");
        if (parts.Length == 1)
            most = least;
        else if (parts[1].Length > 0)
            most =
                int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var high) && high >= least
                    ? high
                    : throw Refuse($"'{{{text}}}' is no repetition");
        if (least > MostRepeats || most > MostRepeats)
            throw Refuse($"'{{{text}}}' repeats more than {MostRepeats:N0} times; use minLength and maxLength");
        _at = close + 1;
        return true;
    }

    private Func<int, int> ReadPart()
    {
        var character = Take();
        switch (character)
        {
            case '(':
                return ReadGroup();
            case '[':
                return Set(ReadClass());
            case '.':
                return Set(s_lineEnds.Not());
            case '\\':
                return Set(ReadEscape(inClass: false));
            case '^':
                throw Refuse("'^' is supported at the beginning of the pattern alone");
            case '*' or '+' or '?' or '{':
                throw Refuse($"'{char.ConvertFromUtf32(character)}' repeats nothing");
            default:
                return Set(CharacterSet.Of(character));
        }
    }

    private Func<int, int> Set(CharacterSet set) => next => Add(set, next);

    private Func<int, int> ReadGroup()
    {
        if (Skip('?'))
        {
            if (Skip('<') && _at < _pattern.Length && Current is not ('=' or '!'))
            {
                while (!Skip('>'))
                    Take(); // a name
            }
            else if (!Skip(':'))
                throw Refuse("a group that looks ahead or behind is not supported");
        }
        if (++_depth > MostDepth)
            throw Refuse($"groups nest more than {MostDepth} deep");
        // A repeated group is read again for each time.
        var from = _at;
        ReadAlternatives(Add(null));
        var to = _at;
        if (!Skip(')'))
            throw Refuse("a group is not ended");
        _depth--;
        var depth = _depth + 1;
        return next =>
        {
            var (at, outer) = (_at, _depth);
            (_at, _depth) = (from, depth);
            var start = ReadAlternatives(next);
            (_at, _depth) = (at, outer);
            return start;
        };
    }

    private CharacterSet ReadClass()
    {
        var isNot = Skip('^');
        var set = CharacterSet.Of();
        while (!Skip(']'))
        {
            var first = ReadClassPart(out var low);
            if (low is { } from && _at + 1 < _pattern.Length && Current == '-' && _pattern[_at + 1] != ']')
            {
                _at++;
                ReadClassPart(out var high);
                if (high is not { } to || to < from)
                    throw Refuse("a range of characters is in the wrong order");
                first = CharacterSet.Of((from, to)).And(CharacterSet.All);
            }
            set = set.Or(first);
        }
        return isNot ? set.Not() : set;
    }

    private CharacterSet ReadClassPart(out int? single)
    {
        var character = Take();
        if (character != '\\')
        {
            single = character;
            return CharacterSet.Of(character);
        }
        var set = ReadEscape(inClass: true);
        single = set.Ranges is [var (first, last)] && first == last ? first : null;
        return set;
    }

    private CharacterSet ReadEscape(bool inClass)
    {
        var character = Take();
        switch (character)
        {
            case 'd':
                return s_digits;
            case 'D':
                return s_digits.Not();
            case 'w':
                return s_word;
            case 'W':
                return s_word.Not();
            case 's':
                return s_space;
            case 'S':
                return s_space.Not();
            case 'n':
                return CharacterSet.Of('\n');
            case 'r':
                return CharacterSet.Of('\r');
            case 't':
                return CharacterSet.Of('\t');
            case 'f':
                return CharacterSet.Of('\f');
            case 'v':
                return CharacterSet.Of('\v');
            case '0':
                return CharacterSet.Of(0);
            case 'b' when inClass:
                return CharacterSet.Of('\b');
            case 'x':
                return CharacterSet.Of(ReadHex(2));
            case 'u':
                return CharacterSet.Of(ReadUnicode());
            case 'p' or 'P':
                var named = ReadCategory();
                return character == 'p' ? named : named.Not();
            case >= 'A' and <= 'Z' or >= 'a' and <= 'z' or >= '1' and <= '9':
                throw Refuse($"'\\{(char)character}' is not supported");
            default:
                return CharacterSet.Of(character);
        }
    }

    private int ReadUnicode()
    {
        if (Skip('{'))
        {
            var value = 0;
            while (!Skip('}'))
                value = value > 0xFFFFF ? throw Refuse("\\u{...} is no character") : 16 * value + Hex(Take());
            return value <= 0x10FFFF ? value : throw Refuse("\\u{...} is no character");
        }
        var first = ReadHex(4);
        if (first is < 0xD800 or > 0xDFFF)
            return first;
        var second = first <= 0xDBFF && Skip('\\') && Skip('u') ? ReadHex(4) : 0;
        if (second is < 0xDC00 or > 0xDFFF)
            throw Refuse("half a surrogate pair is no character");
        return char.ConvertToUtf32((char)first, (char)second);
    }

    private CharacterSet ReadCategory()
    {
        var name = "";
        if (!Skip('{'))
            throw Refuse("'\\p' needs a general category, such as \\p{L}");
        while (!Skip('}'))
            name += char.ConvertFromUtf32(Take());
        return CharacterSet.Category(name) ?? throw Refuse($"\\p{{{name}}} is not supported; general categories such as \\p{{L}} are");
    }

    private int ReadHex(int digits)
    {
        var value = 0;
        for (var i = 0; i < digits; i++)
            value = 16 * value + Hex(Take());
        return value;
    }

    private int Hex(int character) =>
        character is >= 0 and < 128 && char.IsAsciiHexDigit((char)character)
            ? Convert.ToInt32(((char)character).ToString(), 16)
            : throw Refuse("a hexadecimal digit is missing");

    private int Current => _pattern[_at];

    private string Shown => char.ConvertFromUtf32(Current);

    private bool Skip(int character)
    {
        if (_at >= _pattern.Length || Current != character)
            return false;
        _at++;
        return true;
    }

    private int Take() => _at < _pattern.Length ? _pattern[_at++] : throw Refuse("it ends too early");

    private GrammarException Refuse(string why)
    {
        var text = string.Concat(_pattern.Select(c => c is >= 0xD800 and <= 0xDFFF ? "\uFFFD" : char.ConvertFromUtf32(c)));
        return new($"the pattern '{(text.Length > 80 ? text[..80] + "..." : text)}' cannot be read: {why}.");
    }

    private int Add(CharacterSet? set, int next = -1)
    {
        if (_nodes.Count >= MostNodes)
            throw Refuse("it is too large");
        _nodes.Add(new Node(set, next, []));
        return _nodes.Count - 1;
    }

    // The subset construction. Characters between which no set distinguishes go together.
    private CharacterAutomaton Determine(int start, int end) => CharacterAutomaton.Explore(new Subset(Close([start])), at =>
        {
            var moves = at.Nodes.Select(n => _nodes[n]).Where(n => n.Set is not null).ToList();
            int[] cuts = [.. moves.SelectMany(m => m.Set!.Ranges).SelectMany(r => (int[])[r.First, r.Last + 1]).Distinct().Order()];
            var found = new List<(CharacterSet, Subset)>();
            for (var i = 0; i + 1 < cuts.Length; i++)
            {
                int[] targets = [.. moves.Where(m => m.Set!.Contains(cuts[i])).Select(m => m.Next)];
                if (targets.Length > 0)
                    found.Add((CharacterSet.Of((cuts[i], cuts[i + 1] - 1)), new Subset(Close(targets))));
            }
            return (found, at.Nodes.Contains(end));
        });

    private int[] Close(IEnumerable<int> starts)
    {
        var (seen, open) = (new SortedSet<int>(), new Stack<int>(starts));
        while (open.TryPop(out var at))
        {
            if (seen.Add(at))
                _nodes[at].Free.ForEach(open.Push);
        }
        return [.. seen];
    }

    private sealed record Node(CharacterSet? Set, int Next, List<int> Free);

    private readonly struct Subset(int[] nodes) : IEquatable<Subset>
    {
        internal int[] Nodes => nodes;

        public bool Equals(Subset other) => Nodes.AsSpan().SequenceEqual(other.Nodes);

        public override bool Equals(object? obj) => obj is Subset other && Equals(other);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            foreach (var node in Nodes)
                hash.Add(node);
            return hash.ToHashCode();
        }
    }
}
