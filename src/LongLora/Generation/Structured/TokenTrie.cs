using System.Runtime.CompilerServices;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Generation.Structured;

// V vocabulary

/// <summary>
/// The byte strings of all tokens as a tree, laid out in the order in which it is walked. A control token stands for
/// <see cref="ControlMark"/>, which no text has, and its name.
/// </summary>
internal sealed class TokenTrie
{
    /// <summary>The byte before the name of a control token.</summary>
    internal const byte ControlMark = 0xFF;

    private static readonly ConditionalWeakTable<ITokenizer, TokenTrie> s_made = [];
    private readonly List<byte> _bytes = [];
    private readonly List<int> _depths = [];
    private readonly List<int> _ends = [];
    private readonly List<(int Node, int Token)> _tokens = [];
    private readonly byte[][] _texts;

    private TokenTrie(IReadOnlyList<byte[]> texts)
    {
        _texts = [.. texts];
        Longest = _texts.Max(t => t.Length);
        var sorted = Enumerable.Range(0, _texts.Length).Where(id => _texts[id].Length > 0).ToArray();
        Array.Sort(sorted, (x, y) => _texts[x].AsSpan().SequenceCompareTo(_texts[y]));
        var path = new Stack<int>();
        byte[] before = [];
        foreach (var id in sorted)
        {
            var text = _texts[id];
            var common = text.AsSpan().CommonPrefixLength(before);
            while (path.Count > common)
                _ends[path.Pop()] = _bytes.Count;
            for (var depth = common; depth < text.Length; depth++)
            {
                path.Push(_bytes.Count);
                _bytes.Add(text[depth]);
                _depths.Add(depth);
                _ends.Add(0);
            }
            _tokens.Add((_bytes.Count - 1, id));
            before = text;
        }
        while (path.TryPop(out var node))
            _ends[node] = _bytes.Count;
    }

    /// <summary>Number of token ids.</summary>
    internal int Count => _texts.Length;

    /// <summary>Most bytes of a token.</summary>
    internal int Longest { get; }

    /// <summary>The tree of a tokenizer, made once.</summary>
    /// <exception cref="ConfigurationException">The tokenizer does not tell the bytes of its tokens.</exception>
    internal static TokenTrie Of(ITokenizer tokenizer) => s_made.GetValue(tokenizer, Make);

    /// <summary>The tree of these tokens.</summary>
    /// <param name="texts">V byte strings; an empty one is never chosen.</param>
    internal static TokenTrie Of(IReadOnlyList<byte[]> texts) => new(texts);

    /// <summary>What a grammar reads of a token.</summary>
    internal ReadOnlySpan<byte> Bytes(int id) => (uint)id < (uint)_texts.Length ? _texts[id] : [];

    /// <summary>The tokens with which a text can go on.</summary>
    /// <returns>One bit a token.</returns>
    internal ulong[] Find(GrammarMatcher matcher, GrammarState start)
    {
        var allowed = new ulong[(Count + 63) / 64];
        var states = new GrammarState[Longest + 1];
        states[0] = start;
        var token = 0;
        for (var node = 0; node < _bytes.Count; )
        {
            var depth = _depths[node];
            var state = matcher.Next(states[depth], _bytes[node]);
            if (state == GrammarState.Dead)
            {
                node = _ends[node];
                while (token < _tokens.Count && _tokens[token].Node < node)
                    token++;
                continue;
            }
            states[depth + 1] = state;
            for (; token < _tokens.Count && _tokens[token].Node == node; token++)
                allowed[_tokens[token].Token >> 6] |= 1UL << (_tokens[token].Token & 63);
            node++;
        }
        return allowed;
    }

    private static TokenTrie Make(ITokenizer tokenizer)
    {
        if (tokenizer is not TextTokenizer known)
        {
            throw new ConfigurationException(
                $"Cannot bind answers to a format because a {tokenizer.GetType().Name} does not tell the bytes of its tokens. Use a "
                    + "tokenizer that LongLora loads."
            );
        }
        var texts = new byte[tokenizer.VocabularySize][];
        for (var id = 0; id < texts.Length; id++)
        {
            var bytes = known.GetBytes(id);
            texts[id] =
                known.IsSpecial(id) ? [ControlMark, .. bytes]
                : bytes.Contains(ControlMark) ? [] // no UTF-8
                : bytes.ToArray();
        }
        return new TokenTrie(texts);
    }
}
