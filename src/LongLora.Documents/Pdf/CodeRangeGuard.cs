using System.Globalization;
using LongLora.Runtime;
using UglyToad.PdfPig.Filters;
using UglyToad.PdfPig.Tokens;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Refuses fonts whose table of letters has a range that PdfPig never comes to the end of: it counts from the first code to the last one by
/// one, so that the line <c>[0000] [FFFFFF] [0041]</c> (in angle brackets) costs seconds and a gigabyte, and <c>[0044] [80] [0061]</c> all
/// memory there is.
/// </summary>
internal sealed class CodeRangeGuard : IFilterProvider
{
    // All of Unicode.
    private const long MostCodes = 0x110000;

    private static readonly IFilter s_check = new Last();

    private readonly IFilterProvider _filters = DefaultFilterProvider.Instance;

    /// <inheritdoc/>
    public IReadOnlyList<IFilter> GetFilters(DictionaryToken dictionary) => [.. _filters.GetFilters(dictionary), s_check];

    /// <inheritdoc/>
    public IReadOnlyList<IFilter> GetNamedFilters(IReadOnlyList<NameToken> names) => [.. _filters.GetNamedFilters(names), s_check];

    /// <inheritdoc/>
    public IReadOnlyList<IFilter> GetAllFilters() => _filters.GetAllFilters();

    private static void Check(ReadOnlySpan<byte> text)
    {
        while (text.IndexOf("beginbfrange"u8) is >= 0 and var start)
        {
            text = text[(start + "beginbfrange"u8.Length)..];
            var end = text.IndexOf("endbfrange"u8);
            if (CountCodes(end < 0 ? text : text[..end]) is not { } codes)
                throw new DataException("a range in the table of a font's letters ends before it begins");
            if (codes > MostCodes)
                throw new DataException(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"the table of a font's letters covers {codes:N0} codes, but there are only {MostCodes:N0} characters"
                    )
                );
        }
    }

    // Lines of <first> <last> and either <letter> or [<letter> <letter> ...]. Null if a last code cannot be reached from its first.
    private static long? CountCodes(ReadOnlySpan<byte> ranges)
    {
        var (codes, place, isInArray) = (0L, 0, false);
        var first = default(Code);
        while (ranges.IndexOfAny("<[]"u8) is >= 0 and var next)
        {
            var mark = ranges[next];
            ranges = ranges[(next + 1)..];
            if (mark != '<')
            {
                isInArray = mark == '[';
                place = isInArray ? place : 0;
                continue;
            }
            var end = ranges.IndexOf((byte)'>');
            if (end < 0)
                break;
            if (!isInArray)
            {
                var code = Code.Read(ranges[..end]);
                if (place == 1 && (code.Bytes != first.Bytes || code.Value < first.Value))
                    return null;
                codes += place == 1 ? code.Value - first.Value + 1 : 0;
                (first, place) = (code, (place + 1) % 3);
            }
            ranges = ranges[(end + 1)..];
        }
        return codes;
    }

    /// <summary>A code of one to four bytes; longer ones keep their last four, and their length.</summary>
    private readonly record struct Code(long Value, int Bytes)
    {
        public static Code Read(ReadOnlySpan<byte> text)
        {
            var (value, digits) = (0L, 0);
            foreach (var letter in text)
            {
                if (!char.IsAsciiHexDigit((char)letter))
                    continue;
                value = (value << 4) | (long)Convert.ToInt32(((char)letter).ToString(), 16);
                digits++;
            }
            if (digits % 2 == 1)
                (value, digits) = (value << 4, digits + 1);
            return new(value & 0xFFFFFFFF, digits / 2);
        }
    }

    /// <summary>Comes after the filters of a stream, if it has any, and changes nothing.</summary>
    private sealed class Last : IFilter
    {
        public bool IsSupported => true;

        public Memory<byte> Decode(Memory<byte> input, DictionaryToken dictionary, IFilterProvider filters, int index)
        {
            Check(input.Span);
            return input;
        }
    }
}
