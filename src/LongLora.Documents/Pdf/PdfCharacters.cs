using System.Text;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Letters as fonts draw them -> letters as they are written: ligatures are split, separate accents are put on their letter, and letters
/// for formulas become plain.
/// </summary>
internal static class PdfCharacters
{
    private const string Letters = "AEIOUYaeiouycCnNsSzZgGrRtT";

    private const string Greek = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΘΣΤΥΦΧΨΩ∇αβγδεζηθικλμνξοπρςστυφχψω∂εθκφρπ";

    // The characters of the radicals U+2E80 to U+2EF3 (Unicode's EquivalentUnifiedIdeograph); '.' where there is none.
    private const string Radicals =
        ".厂乛乚乙亻冂.刀刂卜㔾小小兀尣尢.巳幺彑彐忄心扌攵.旡日月歺母民氵氺灬爫爫丬牛犭王.目示礻.糹纟罓罒㓁冗.羊..耂"
        + "肀聿肉.艹艹艹虎衤覀西见角.讠贝.车辶辶辶邑钅長镸长门.阝雨青韦页风飞食.飠饣.马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟";

    // Accents that TeX's older fonts draw before the letter, each with its combinations with Letters ('.' if there is no such letter).
    private static readonly Dictionary<char, string> s_accented = new()
    {
        ['\u00B4'] = "ÁÉÍÓÚÝáéíóúýćĆńŃśŚźŹǵǴŕŔ..",
        ['`'] = "ÀÈÌÒÙỲàèìòùỳ..ǹǸ..........",
        ['\u00A8'] = "ÄËÏÖÜŸäëïöüÿ............ẗ.",
        ['\u02C6'] = "ÂÊÎÔÛŶâêîôûŷĉĈ..ŝŜẑẐĝĜ....",
        ['\u02DC'] = "ÃẼĨÕŨỸãẽĩõũỹ..ñÑ..........",
        ['\u02C7'] = "ǍĚǏǑǓ.ǎěǐǒǔ.čČňŇšŠžŽǧǦřŘťŤ",
        ['\u00B8'] = ".Ȩ.....ȩ....çÇņŅşŞ..ģĢŗŖţŢ",
        ['\u02DA'] = "Å...Ů.å...ůẙ..............",
        ['\u02DD'] = "...ŐŰ....őű...............",
        ['\u02D9'] = "ȦĖİȮ.Ẏȧė.ȯ.ẏċĊṅṄṡṠżŻġĠṙṘṫṪ",
    };

    /// <summary>The text of one word as it is written.</summary>
    public static string ToPlain(string word)
    {
        var isPlain = true;
        foreach (var c in word)
            isPlain &= c is > ' ' and < '\u007F' and not '`';
        if (isPlain)
            return word;
        var text = new StringBuilder(word.Length + 4);
        for (var i = 0; i < word.Length; i++)
        {
            var c = word[i];
            if (i + 1 < word.Length && (FindAccented(c, word[i + 1]) ?? FindMathematical(c, word[i + 1])) is { } letter)
            {
                text.Append(letter);
                i++;
            }
            else if (FindIdeograph(c) is { } ideograph)
                text.Append(ideograph);
            else if (SplitLigature(c) is { } parts)
                text.Append(parts);
            else if (!char.IsControl(c) && c is not ('\uFEFF' or '\u200B' or '\u00AD'))
                text.Append(c == '\u00A0' ? ' ' : c);
            else if (c == '\u00AD' && i == word.Length - 1)
                text.Append('-'); // a visible soft hyphen
        }
        return text.ToString();
    }

    private static char? FindAccented(char accent, char letter)
    {
        if (!s_accented.TryGetValue(accent, out var made))
            return null;
        var at = Letters.IndexOf(letter is '\u0131' ? 'i' : letter, StringComparison.Ordinal);
        return at >= 0 && made[at] != '.' ? made[at] : null;
    }

    // Fonts have one glyph for a character and for the radical or the compatibility form that looks like it. Writers of PDFs then name the
    // wrong one.
    private static string? FindIdeograph(char c) =>
        c switch
        {
            >= '\u2E80' and <= '\u2EF3' => Radicals[c - '\u2E80'] is var found && found != '.' ? found.ToString() : null,
            (>= '\u2F00' and <= '\u2FD5') or (>= '\uF900' and <= '\uFAD9') => CompatibilityForms.Find(c),
            _ => null,
        };

    // Italic, bold and other letters for formulas (U+1D400 to U+1D7FF) as plain letters: 13 alphabets of Latin, 5 of Greek, 5 rows of
    // digits.
    private static char? FindMathematical(char high, char low)
    {
        if (!char.IsSurrogatePair(high, low))
            return null;
        var code = char.ConvertToUtf32(high, low);
        var (latin, greek, digit) = (code - 0x1D400, code - 0x1D6A8, code - 0x1D7CE);
        return latin is >= 0 and < 13 * 52 ? (char)(latin % 52 < 26 ? 'A' + latin % 52 : 'a' + latin % 52 - 26)
            : greek is >= 0 and < 5 * 58 ? Greek[greek % 58]
            : digit is >= 0 and < 50 ? (char)('0' + digit % 10)
            : null;
    }

    private static string? SplitLigature(char c) =>
        c switch
        {
            '\uFB00' => "ff",
            '\uFB01' => "fi",
            '\uFB02' => "fl",
            '\uFB03' => "ffi",
            '\uFB04' => "ffl",
            '\uFB05' or '\uFB06' => "st",
            '\u0132' => "IJ",
            '\u0133' => "ij",
            _ => null,
        };
}
