using System.Text;
using System.Text.Json;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>
/// The texts of JSON (RFC 8259), with a bound on white space and digits, which a model could otherwise write without end.
/// </summary>
internal sealed class JsonText
{
    /// <summary>Most digits before the point of a number, and behind it.</summary>
    internal const int MostDigits = 16;

    private const int MostIndent = 32;
    private readonly GrammarRule _character;
    private GrammarRule? _value,
        _object,
        _array;

    /// <param name="builder">Where the rules go.</param>
    /// <param name="isIndented">
    /// Whether signs may stand on lines of their own. A small model takes every line that it may.
    /// </param>
    internal JsonText(GrammarBuilder builder, bool isIndented = false)
    {
        Builder = builder;
        Blank = Space;
        if (isIndented)
        {
            var indent = builder.NewRule("indent", Byte(" \t"));
            Blank = Optional(Call(builder.NewRule("white space", Any(Byte(" "), Join(Byte("\n"), Times(indent, 0, MostIndent))))));
        }
        _character = builder.NewRule("character", Any(Raw, Escape()));
        Digit = builder.NewRule("digit", Byte('0', '9'));
        String = builder.NewRule("string", Join(Byte("\""), Many(Call(_character)), Byte("\"")));
        Integer = builder.NewRule("integer", WholeNumber());
        Number = builder.NewRule(
            "number",
            Join(
                WholeNumber(),
                Optional(Join(Byte("."), Times(Digit, 1, MostDigits))),
                Optional(Join(Byte("eE"), Optional(Byte("+-")), Byte('0', '9'), Optional(Byte('0', '9'))))
            )
        );
    }

    internal GrammarBuilder Builder { get; }

    /// <summary>Nothing or a space, with which many tokenizers begin a text.</summary>
    internal static GrammarExpression Space { get; } = Optional(Byte(" "));

    /// <summary>What may stand between two signs: nothing, a space, or, where it is allowed, a new line with its indent.</summary>
    internal GrammarExpression Blank { get; }

    internal GrammarRule Digit { get; }

    internal GrammarRule String { get; }

    internal GrammarRule Integer { get; }

    internal GrammarRule Number { get; }

    /// <summary>Any value.</summary>
    internal GrammarRule Value => _value ?? DefineValues()._value!;

    /// <summary>Any object.</summary>
    internal GrammarRule Object => _object ?? DefineValues()._object!;

    /// <summary>Any array.</summary>
    internal GrammarRule Array => _array ?? DefineValues()._array!;

    /// <summary>A string of some characters.</summary>
    internal GrammarExpression Sized(int least, int? most) =>
        least == 0 && most is null ? Call(String) : Join(Byte("\""), Times(_character, least, most), Byte("\""));

    /// <summary>One value and no other, with blanks between its signs.</summary>
    internal GrammarExpression Constant(JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                return Text(Write(value.GetString()!));
            case JsonValueKind.Array:
                return List('[', ']', [.. value.EnumerateArray().Select(Constant)]);
            case JsonValueKind.Object:
                return List('{', '}', [.. value.EnumerateObject().Select(p => Join(Text(Write(p.Name) + ":"), Blank, Constant(p.Value)))]);
            default:
                return Text(value.GetRawText());
        }
    }

    /// <summary>A text as a JSON string in its plainest form.</summary>
    internal static string Write(string text)
    {
        var written = new StringBuilder("\"");
        foreach (var rune in text.EnumerateRunes()) // half a surrogate pair becomes U+FFFD
        {
            written.Append(
                rune.Value switch
                {
                    '"' => "\\\"",
                    '\\' => "\\\\",
                    '\b' => "\\b",
                    '\f' => "\\f",
                    '\n' => "\\n",
                    '\r' => "\\r",
                    '\t' => "\\t",
                    < 0x20 => $"\\u{rune.Value:x4}",
                    _ => rune.ToString(),
                }
            );
        }
        return written.Append('"').ToString();
    }

    /// <summary>The characters that stand for themselves, as UTF-8.</summary>
    internal static GrammarExpression Raw { get; } =
        Any(Byte(ByteSet.Range(0x20, 0x7F).Without(ByteSet.Of("\"\\"))), CharacterSet.All.From(0x80).ToUtf8());

    private static GrammarExpression Escape()
    {
        var hex = Byte("0123456789abcdefABCDEF");
        return Join(
            Byte("\\"),
            Any(
                Byte("\"\\/bfnrt"),
                Join(Byte("u"), Byte("0123456789abcefABCEF"), hex, hex, hex),
                Join(Byte("u"), Byte("dD"), Byte('0', '7'), hex, hex),
                Join(Byte("u"), Byte("dD"), Byte("89abAB"), hex, hex, Text("\\u"), Byte("dD"), Byte("cdefCDEF"), hex, hex)
            )
        );
    }

    private GrammarExpression WholeNumber() =>
        Join(Optional(Byte("-")), Any(Byte("0"), Join(Byte('1', '9'), Times(Digit, 0, MostDigits - 1))));

    private GrammarExpression List(char open, char close, IReadOnlyList<GrammarExpression> items)
    {
        var parts = new List<GrammarExpression> { Byte($"{open}"), Blank };
        foreach (var (i, item) in items.Index())
        {
            if (i > 0)
                parts.AddRange([Byte(","), Blank]);
            parts.Add(item);
        }
        if (items.Count > 0)
            parts.Add(Blank);
        parts.Add(Byte($"{close}"));
        return Join([.. parts]);
    }

    private JsonText DefineValues()
    {
        _value = Builder.NewRule("value");
        _object = Builder.NewRule("object", isContainer: true);
        _array = Builder.NewRule("array", isContainer: true);
        var member = Join(Call(String), Byte(":"), Blank, Call(_value));
        Builder.Define(_object, Block('{', '}', member));
        Builder.Define(_array, Block('[', ']', Call(_value)));
        Builder.Define(_value, Any(Call(_object), Call(_array), Call(String), Call(Number), Text("true"), Text("false"), Text("null")));
        return this;
    }

    /// <summary>Any number of items between brackets.</summary>
    internal GrammarExpression Block(char open, char close, GrammarExpression item) =>
        Join(Byte($"{open}"), Blank, Optional(Join(item, Many(Join(Byte(","), Blank, item)), Blank)), Byte($"{close}"));
}
