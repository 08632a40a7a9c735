using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>
/// Unicode normalization forms C and D (UAX #15). <see cref="string.Normalize()"/> is not used because it does nothing if .NET runs without
/// ICU (InvariantGlobalization), and a tokenizer must give the same ids on every machine. Data: Unicode 15.0.
/// </summary>
internal sealed class CanonicalForm : TextStep
{
    // Hangul syllables are composed by arithmetic (The Unicode Standard, section 3.12).
    private const int SyllableBase = 0xAC00,
        LeadBase = 0x1100,
        VowelBase = 0x1161,
        TrailBase = 0x11A7;
    private const int LeadCount = 19,
        VowelCount = 21,
        TrailCount = 28,
        SyllableCount = LeadCount * VowelCount * TrailCount;

    private static readonly Lazy<Tables> s_tables = new(Tables.Read);
    private readonly bool _compose;

    private CanonicalForm(bool compose) => _compose = compose;

    /// <summary>Form C: composed.</summary>
    public static CanonicalForm C { get; } = new(true);

    /// <summary>Form D: decomposed.</summary>
    public static CanonicalForm D { get; } = new(false);

    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        var tables = s_tables.Value;
        var first = FindFirstAffected(text, 0, tables);
        if (first < 0)
            return false;
        List<(int CodePoint, int Class)> run = [];
        var done = 0;
        while (first >= 0)
        {
            // A run goes from the last character that nothing before it can change to the next such character.
            var begin = Math.Max(done, FindPreviousBoundary(text, first));
            output.Append(text[done..begin]);
            done = FindNextBoundary(text, first, tables);
            Rewrite(text[begin..done], run, tables, output);
            first = FindFirstAffected(text, done, tables);
        }
        output.Append(text[done..]);
        return true;
    }

    /// <summary>Position of the first character from <paramref name="from"/> on that this form may change or move, or -1.</summary>
    private int FindFirstAffected(ReadOnlySpan<char> text, int from, Tables tables)
    {
        // Form C changes nothing below U+0300, form D nothing below U+00C0.
        var limit = _compose ? '\u02FF' : '\u00BF';
        for (var i = from; i < text.Length; i++)
        {
            var skip = text[i..].IndexOfAnyExceptInRange('\0', limit);
            if (skip < 0)
                return -1;
            i += skip;
            Rune.DecodeFromUtf16(text[i..], out var rune, out var length);
            if (IsAffected(rune.Value, tables))
                return i;
            i += length - 1;
        }
        return -1;
    }

    private bool IsAffected(int codePoint, Tables tables) =>
        _compose
            ? tables.Unstable.Contains(codePoint)
                || codePoint is >= VowelBase and < VowelBase + VowelCount or > TrailBase and < TrailBase + TrailCount
            : tables.Classes.ContainsKey(codePoint) || tables.Decompositions.ContainsKey(codePoint) || IsSyllable(codePoint);

    private static int FindPreviousBoundary(ReadOnlySpan<char> text, int position)
    {
        if (position == 0)
            return 0;
        return position >= 2 && char.IsSurrogatePair(text[position - 2], text[position - 1]) ? position - 2 : position - 1;
    }

    private int FindNextBoundary(ReadOnlySpan<char> text, int position, Tables tables)
    {
        while (position < text.Length)
        {
            Rune.DecodeFromUtf16(text[position..], out var rune, out var length);
            if (rune.Value <= 0xBF || (!IsAffected(rune.Value, tables) && !tables.Classes.ContainsKey(rune.Value)))
                break;
            position += length;
        }
        return position;
    }

    private void Rewrite(ReadOnlySpan<char> text, List<(int CodePoint, int Class)> run, Tables tables, TextBuffer output)
    {
        run.Clear();
        foreach (var rune in text.EnumerateRunes())
            Decompose(rune.Value, run, tables);
        SortMarks(run);
        if (_compose)
            Compose(run, tables);
        Span<char> units = stackalloc char[2];
        foreach (var (codePoint, _) in run)
            output.Append(units[..new Rune(codePoint).EncodeToUtf16(units)]);
    }

    private static bool IsSyllable(int codePoint) => codePoint is >= SyllableBase and < SyllableBase + SyllableCount;

    private static void Decompose(int codePoint, List<(int CodePoint, int Class)> run, Tables tables)
    {
        if (IsSyllable(codePoint))
        {
            var index = codePoint - SyllableBase;
            run.Add((LeadBase + index / (VowelCount * TrailCount), 0));
            run.Add((VowelBase + index % (VowelCount * TrailCount) / TrailCount, 0));
            if (index % TrailCount > 0)
                run.Add((TrailBase + index % TrailCount, 0));
            return;
        }
        if (!tables.Decompositions.TryGetValue(codePoint, out var parts))
        {
            run.Add((codePoint, tables.Classes.GetValueOrDefault(codePoint)));
            return;
        }
        Decompose(parts.First, run, tables);
        if (parts.Second >= 0)
            Decompose(parts.Second, run, tables);
    }

    /// <summary>Sorts each sequence of combining marks by class; equal marks keep their order.</summary>
    private static void SortMarks(List<(int CodePoint, int Class)> run)
    {
        for (var start = 0; start < run.Count; start++)
        {
            var end = start;
            var sorted = true;
            for (; end < run.Count && run[end].Class != 0; end++)
                sorted &= end == start || run[end - 1].Class <= run[end].Class;
            if (!sorted)
            {
                var ordered = run[start..end].OrderBy(mark => mark.Class).ToArray();
                for (var i = 0; i < ordered.Length; i++)
                    run[start + i] = ordered[i];
            }
            start = end;
        }
    }

    /// <summary>
    /// Composes in place: a mark joins the last starter unless a starter, or a mark of the same or a higher class, lies between.
    /// </summary>
    private static void Compose(List<(int CodePoint, int Class)> run, Tables tables)
    {
        var (starter, count, lastClass) = (-1, 0, -1);
        for (var i = 0; i < run.Count; i++)
        {
            var (codePoint, combiningClass) = run[i];
            if (
                starter >= 0
                && lastClass < combiningClass
                && ComposePair(run[starter].CodePoint, codePoint, tables) is var composed and >= 0
            )
            {
                run[starter] = (composed, 0);
                continue;
            }
            if (combiningClass == 0)
                (starter, lastClass) = (count, -1);
            else
                lastClass = combiningClass;
            run[count++] = run[i];
        }
        run.RemoveRange(count, run.Count - count);
    }

    private static int ComposePair(int first, int second, Tables tables)
    {
        if (first is >= LeadBase and < LeadBase + LeadCount && second is >= VowelBase and < VowelBase + VowelCount)
            return SyllableBase + ((first - LeadBase) * VowelCount + second - VowelBase) * TrailCount;
        if (IsSyllable(first) && (first - SyllableBase) % TrailCount == 0 && second is > TrailBase and < TrailBase + TrailCount)
            return first + second - TrailBase;
        return tables.Compositions.GetValueOrDefault((first, second), -1);
    }

    /// <summary>Second is -1 in a decomposition into one character.</summary>
    private sealed record Tables(
        FrozenDictionary<int, (int First, int Second)> Decompositions,
        FrozenDictionary<(int First, int Second), int> Compositions,
        FrozenDictionary<int, int> Classes,
        FrozenSet<int> Unstable
    )
    {
        public static Tables Read()
        {
            var decompositions = new Dictionary<int, (int, int)>();
            var compositions = new Dictionary<(int, int), int>();
            var classes = new Dictionary<int, int>();
            var excluded = new HashSet<int>();
            using var stream = typeof(CanonicalForm).Assembly.GetManifestResourceStream(
                "LongLora.Tokenization.CanonicalDecompositions.txt"
            )!;
            using var reader = new StreamReader(stream);
            while (reader.ReadLine() is { } line)
            {
                var fields = line.Split(' ');
                if (fields[0] == "C")
                {
                    for (var c = ParseHex(fields[1]); c <= ParseHex(fields[2]); c++)
                        classes.Add(c, int.Parse(fields[3], CultureInfo.InvariantCulture));
                }
                else if (fields[0] is "D" or "D!")
                {
                    decompositions.Add(ParseHex(fields[1]), (ParseHex(fields[2]), fields.Length > 3 ? ParseHex(fields[3]) : -1));
                    if (fields[0] == "D!")
                        excluded.Add(ParseHex(fields[1]));
                }
            }
            // Singletons and decompositions that start with a mark are never composed (UAX #15, section 5).
            foreach (var (whole, (first, second)) in decompositions)
            {
                if (second >= 0 && !excluded.Contains(whole) && !classes.ContainsKey(whole) && !classes.ContainsKey(first))
                    compositions.Add((first, second), whole);
            }
            var unstable = new HashSet<int>(classes.Keys);
            unstable.UnionWith(decompositions.Keys.Except(compositions.Values));
            unstable.UnionWith(compositions.Keys.Select(pair => pair.Item2));
            return new(
                decompositions.ToFrozenDictionary(),
                compositions.ToFrozenDictionary(),
                classes.ToFrozenDictionary(),
                unstable.ToFrozenSet()
            );
        }

        private static int ParseHex(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
