using System.Text;

namespace LongLora.Generation.Structured;

/// <summary>A set of byte strings, written with the usual operators. <see cref="GrammarBuilder"/> makes a graph of it.</summary>
internal abstract record GrammarExpression
{
    /// <summary>The empty string.</summary>
    internal static GrammarExpression Empty { get; } = new Sequence([]);

    /// <summary>No string at all.</summary>
    internal static GrammarExpression Nothing { get; } = new OneByte(default);

    internal static GrammarExpression Byte(ByteSet set) => new OneByte(set);

    internal static GrammarExpression Byte(string ascii) => new OneByte(ByteSet.Of(ascii));

    internal static GrammarExpression Byte(int first, int last) => new OneByte(ByteSet.Range(first, last));

    internal static GrammarExpression Text(string text) => Bytes(Encoding.UTF8.GetBytes(text));

    internal static GrammarExpression Bytes(ReadOnlySpan<byte> bytes)
    {
        var parts = new GrammarExpression[bytes.Length];
        for (var i = 0; i < parts.Length; i++)
            parts[i] = new OneByte(default(ByteSet).With(bytes[i]));
        return new Sequence(parts);
    }

    internal static GrammarExpression Join(params GrammarExpression[] parts) => new Sequence(parts);

    internal static GrammarExpression Any(params IReadOnlyList<GrammarExpression> choices) =>
        choices.Count == 1 ? choices[0] : new Choice(choices);

    internal static GrammarExpression Optional(GrammarExpression part) => new Choice([part, Empty]);

    /// <summary>The part any number of times. It must not have the empty string.</summary>
    internal static GrammarExpression Many(GrammarExpression part) => new Loop(part);

    /// <summary>A rule a number of times. It must not have the empty string. The bounds cost nothing, however large they are.</summary>
    internal static GrammarExpression Times(GrammarRule rule, int least, int? most) => new Counted(rule, least, most);

    internal static GrammarExpression Call(GrammarRule rule) => new Reference(rule);

    internal sealed record OneByte(ByteSet Set) : GrammarExpression;

    internal sealed record Sequence(IReadOnlyList<GrammarExpression> Parts) : GrammarExpression;

    internal sealed record Choice(IReadOnlyList<GrammarExpression> Choices) : GrammarExpression;

    internal sealed record Loop(GrammarExpression Part) : GrammarExpression;

    internal sealed record Counted(GrammarRule Rule, int Least, int? Most) : GrammarExpression;

    internal sealed record Reference(GrammarRule Rule) : GrammarExpression;
}
