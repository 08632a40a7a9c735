using System.Text;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Generation.Structured;

namespace LongLora.Tests.Generation.Structured;

/// <summary>Reads and writes texts of a grammar byte by byte, with a vocabulary of the 256 bytes.</summary>
internal sealed class Walk
{
    private static readonly TokenTrie s_bytes = TokenTrie.Of([.. Enumerable.Range(0, 256).Select(b => (byte[])[(byte)b])]);
    private readonly GrammarMatcher _matcher;

    internal Walk(AnswerFormat format) => _matcher = format.MatcherFor(s_bytes);

    internal static Walk Schema(string schema)
    {
        using var document = JsonDocument.Parse(schema);
        return new Walk(AnswerFormat.FromSchema(document.RootElement));
    }

    /// <summary>Whether the text is one of the grammar.</summary>
    internal bool Accepts(string text) => Accepts(Encoding.UTF8.GetBytes(text));

    internal bool Accepts(ReadOnlySpan<byte> bytes) => Read(bytes).MayEnd;

    /// <summary>Whether the text begins one of the grammar.</summary>
    internal bool Begins(string text) => Read(Encoding.UTF8.GetBytes(text)) != GrammarState.Dead;

    private GrammarState Read(ReadOnlySpan<byte> bytes)
    {
        var state = _matcher.Start;
        foreach (var value in bytes)
            state = _matcher.Next(state, value);
        return state;
    }

    /// <summary>
    /// A text of the grammar, drawn at random. After some bytes it takes what closes. Fails where the text can neither end nor go on.
    /// </summary>
    /// <param name="random">Draws.</param>
    /// <param name="isPlain">Whether letters beyond ASCII and escapes are left out where there are others.</param>
    internal string Draw(Random random, bool isPlain)
    {
        var (state, text) = (_matcher.Start, new List<byte>());
        while (!state.MustEnd)
        {
            var next = Enumerable.Range(0, 256).Where(b => _matcher.Next(state, (byte)b) != GrammarState.Dead).ToList();
            Assert.True(next.Count > 0 || state.MayEnd, $"dead end behind {Encoding.UTF8.GetString([.. text])}");
            var isLate = text.Count > 80;
            if (state.MayEnd && (next.Count == 0 || isLate || random.Next(4) == 0))
                break;
            Assert.True(text.Count < 20_000, $"no end behind {Encoding.UTF8.GetString([.. text.Take(200)])}");
            var closing = next.Where(b => "\"}]".Contains((char)b) || (b == 'n' && !next.Contains('"'))).ToList();
            if (isPlain && next.Exists(b => b < 0x80 && b != '\\'))
                next.RemoveAll(b => b >= 0x80 || b == '\\');
            var chosen = closing.Count > 0 && (isLate || random.Next(3) == 0) ? closing : next;
            var byteChosen = (byte)chosen[random.Next(chosen.Count)];
            text.Add(byteChosen);
            state = _matcher.Next(state, byteChosen);
        }
        return Encoding.UTF8.GetString([.. text]);
    }
}
