using System.Text;

namespace LongLora.Tokenization.Jinja;

/// <summary>An error in a template, or a feature that this interpreter does not support.</summary>
internal sealed class JinjaException(string message) : Exception(message);

internal enum JinjaTokenKind
{
    /// <summary>Text between tags.</summary>
    Data,

    /// <summary><c>{{</c> or <c>{%</c>.</summary>
    Open,

    /// <summary><c>}}</c> or <c>%}</c>.</summary>
    Close,

    Name,
    Text,
    Integer,
    Number,
    Operator,
    End,
}

internal readonly record struct JinjaToken(JinjaTokenKind Kind, string Text, int Line);

/// <summary>
/// Splits a template into tokens as Jinja2 does with <c>trim_blocks</c> and <c>lstrip_blocks</c>, which is how transformers renders chat
/// templates: the line end after a block is removed, so are blanks before a block that begins a line, and a minus in a tag removes all
/// white space on its side.
/// </summary>
internal static class JinjaLexer
{
    private static readonly string[] s_operators =
    [
        "==",
        "!=",
        "<=",
        ">=",
        "//",
        "**",
        "+",
        "-",
        "*",
        "/",
        "%",
        "~",
        "<",
        ">",
        "=",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ".",
        ":",
        "|",
    ];

    public static List<JinjaToken> Read(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal);
        if (source.EndsWith('\n'))
            source = source[..^1];
        var tokens = new List<JinjaToken>();
        var at = 0;
        var (trimBlanks, trimLine) = (false, false);
        while (at <= source.Length)
        {
            var tag = FindTag(source, at);
            var data = source[at..tag];
            if (trimBlanks)
                data = data.TrimStart();
            else if (trimLine && data.StartsWith('\n'))
                data = data[1..];
            var sign = tag + 2 < source.Length ? source[tag + 2] : ' ';
            var isBlock = tag < source.Length && source[tag + 1] != '{';
            if (tag < source.Length && sign == '-')
                data = data.TrimEnd();
            else if (isBlock && sign != '+')
                data = WithoutIndent(data, at == 0 || source.AsSpan(0, tag).TrimEnd(" \t").EndsWith('\n'));
            if (data.Length > 0)
                tokens.Add(new(JinjaTokenKind.Data, data, at));
            if (tag == source.Length)
                break;
            at = tag + 2 + (sign is '-' or '+' ? 1 : 0);
            at = source[tag + 1] switch
            {
                '#' => SkipComment(source, at, tag),
                '%' when source.AsSpan(at).TrimStart().StartsWith("raw") => throw MakeError(source, tag, "'raw' is not supported"),
                _ => ReadTag(source, at, tag, tokens),
            };
            trimBlanks = source[at - 3] == '-';
            trimLine = isBlock && source[at - 3] != '+';
        }
        tokens.Add(new(JinjaTokenKind.End, "", source.Length));
        SetLines(source, tokens);
        return tokens;
    }

    // Until here each token has its place in the source for a line: places are in order, so one pass is enough.
    private static void SetLines(string source, List<JinjaToken> tokens)
    {
        var (line, seen) = (1, 0);
        for (var i = 0; i < tokens.Count; i++)
        {
            var at = tokens[i].Line;
            line += source.AsSpan(seen, at - seen).Count('\n');
            seen = at;
            tokens[i] = tokens[i] with { Line = line };
        }
    }

    private static int FindTag(string source, int from)
    {
        for (var at = source.IndexOf('{', from); at >= 0 && at + 1 < source.Length; at = source.IndexOf('{', at + 1))
        {
            if (source[at + 1] is '{' or '%' or '#')
                return at;
        }
        return source.Length;
    }

    // Blanks between the start of a line and a block.
    private static string WithoutIndent(string data, bool beginsLine)
    {
        var kept = data.TrimEnd(' ', '\t');
        return beginsLine && (kept.Length == 0 || kept[^1] == '\n') ? kept : data;
    }

    private static int SkipComment(string source, int at, int tag)
    {
        var end = source.IndexOf("#}", at, StringComparison.Ordinal);
        return end >= 0 ? end + 2 : throw MakeError(source, tag, "the comment is not closed");
    }

    private static int ReadTag(string source, int at, int tag, List<JinjaToken> tokens)
    {
        var (open, close) = source[tag + 1] == '{' ? ("{{", "}}") : ("{%", "%}");
        tokens.Add(new(JinjaTokenKind.Open, open, tag));
        var depth = 0;
        while (at < source.Length)
        {
            var c = source[at];
            var signed = c is '-' or '+' && string.CompareOrdinal(source, at + 1, close, 0, 2) == 0;
            if (depth == 0 && (signed || string.CompareOrdinal(source, at, close, 0, 2) == 0))
            {
                tokens.Add(new(JinjaTokenKind.Close, close, at));
                return at + (signed ? 3 : 2);
            }
            if (char.IsWhiteSpace(c))
                at++;
            else if (c is '\'' or '"')
                at = ReadText(source, at, tokens);
            else if (char.IsAsciiDigit(c))
                at = ReadNumber(source, at, tokens);
            else if (char.IsLetter(c) || c == '_')
                at = ReadName(source, at, tokens);
            else
            {
                var sign = Array.Find(s_operators, o => string.CompareOrdinal(source, at, o, 0, o.Length) == 0)
                    ?? throw MakeError(source, at, $"unexpected character '{c}'");
                depth +=
                    sign is "{" or "[" or "(" ? 1
                    : sign is "}" or "]" or ")" ? -1
                    : 0;
                tokens.Add(new(JinjaTokenKind.Operator, sign, at));
                at += sign.Length;
            }
        }
        throw MakeError(source, tag, $"the tag is not closed with {close}");
    }

    private static int ReadName(string source, int at, List<JinjaToken> tokens)
    {
        var end = at;
        while (end < source.Length && (char.IsLetterOrDigit(source[end]) || source[end] == '_'))
            end++;
        tokens.Add(new(JinjaTokenKind.Name, source[at..end], at));
        return end;
    }

    private static int ReadNumber(string source, int at, List<JinjaToken> tokens)
    {
        var end = at;
        while (end < source.Length && char.IsAsciiDigit(source[end]))
            end++;
        var real = end + 1 < source.Length && source[end] == '.' && char.IsAsciiDigit(source[end + 1]);
        if (real)
        {
            end++;
            while (end < source.Length && char.IsAsciiDigit(source[end]))
                end++;
        }
        tokens.Add(new(real ? JinjaTokenKind.Number : JinjaTokenKind.Integer, source[at..end], at));
        return end;
    }

    private static int ReadText(string source, int at, List<JinjaToken> tokens)
    {
        var text = new StringBuilder();
        for (var i = at + 1; i < source.Length; i++)
        {
            if (source[i] == source[at])
            {
                tokens.Add(new(JinjaTokenKind.Text, text.ToString(), at));
                return i + 1;
            }
            if (source[i] != '\\' || i + 1 == source.Length)
            {
                text.Append(source[i]);
                continue;
            }
            i++;
            switch (source[i])
            {
                case 'n':
                    text.Append('\n');
                    break;
                case 't':
                    text.Append('\t');
                    break;
                case 'r':
                    text.Append('\r');
                    break;
                case '\\' or '\'' or '"':
                    text.Append(source[i]);
                    break;
                case 'u'
                    when i + 4 < source.Length
                        && ushort.TryParse(source.AsSpan(i + 1, 4), System.Globalization.NumberStyles.HexNumber, null, out var code):
                    text.Append((char)code);
                    i += 4;
                    break;
                default:
                    text.Append('\\').Append(source[i]);
                    break;
            }
        }
        throw MakeError(source, at, "the string is not closed");
    }

    private static int FindLine(string source, int at) => source.AsSpan(0, Math.Min(at, source.Length)).Count('\n') + 1;

    private static JinjaException MakeError(string source, int at, string what) => new($"line {FindLine(source, at)}: {what}");
}
