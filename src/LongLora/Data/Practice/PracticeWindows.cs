using System.Buffers.Binary;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Windows of exactly one context for training a small model: whole generated documents of all lengths that fit, each between BOS and
/// EOS, and stretches of running text that fill what is left. No generated document is cut, so no question stands without its answer's
/// source.
/// </summary>
/// <param name="tokenizer">Makes the tokens; needs BOS and EOS.</param>
/// <param name="texts">Running text, such as books; may be empty where everything is generated.</param>
/// <param name="options">The mixture.</param>
public sealed class PracticeWindows(ITokenizer tokenizer, IReadOnlyList<IReadOnlyList<int>> texts, PracticeOptions options)
{
    private const double CharactersPerToken = 3.2;
    private const int Attempts = 6;

    private readonly SplitMix64 _random = new((ulong)options.Seed * 0x9E3779B97F4A7C15);
    private readonly int _bos = tokenizer.BosTokenId
        ?? throw new ConfigurationException("The tokenizer has no BOS; practice windows need one.");
    private readonly int _eos = tokenizer.EosTokenId
        ?? throw new ConfigurationException("The tokenizer has no EOS; practice windows need one.");
    private readonly long _textTokens = texts.Sum(t => (long)t.Count);

    /// <summary>The windows, one after the other; each has exactly <see cref="PracticeOptions.Context"/> ids.</summary>
    public IEnumerable<int[]> Make()
    {
        var practice = new RetrievalPractice(_random);
        for (var i = 0; i < options.Windows; i++)
        {
            var window = new List<int>(options.Context);
            while (window.Count < options.Context)
            {
                var room = options.Context - window.Count;
                if (_random.Share() < options.Generated && Generate(practice, room) is { } ids)
                    window.AddRange(ids);
                else
                    AddPassage(window, room);
            }
            yield return [.. window];
        }
    }

    /// <summary>Writes a window as tokens of LongLoRA's <c>.bin</c>: uint16, little-endian.</summary>
    public static void Write(Stream stream, ReadOnlySpan<int> window)
    {
        var bytes = new byte[2 * window.Length];
        for (var i = 0; i < window.Length; i++)
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2 * i), checked((ushort)window[i]));
        stream.Write(bytes);
    }

    // Null where nothing small enough came out: little room is left.
    private List<int>? Generate(RetrievalPractice practice, int room)
    {
        var tokens = _random.Between(Math.Min(24, room), room);
        for (var attempt = 0; attempt < Attempts; attempt++)
        {
            var text = practice.Write(ChooseKind(), (int)(tokens * CharactersPerToken));
            var ids = tokenizer.Encode(text);
            if (ids.Count + 2 <= room)
                return [_bos, .. ids, _eos];
            tokens = tokens * 3 / 4;
        }
        return null;
    }

    private PracticeKind ChooseKind()
    {
        var place = _random.Share() * options.Weights.Sum();
        for (var i = 0; i < options.Weights.Count; i++)
        {
            place -= options.Weights[i];
            if (place < 0)
                return (PracticeKind)i;
        }
        return PracticeKind.Repetition;
    }

    // A stretch of a text from a random place; without texts, end-of-text tokens.
    private void AddPassage(List<int> window, int room)
    {
        if (_textTokens == 0)
        {
            window.AddRange(Enumerable.Repeat(_eos, room));
            return;
        }
        var place = (long)(_random.Share() * _textTokens);
        var text = texts[0];
        foreach (var candidate in texts)
        {
            text = candidate;
            if (place < text.Count)
                break;
            place -= text.Count;
        }
        // Half of them fill the window; the others leave room for something else.
        var length = _random.Below(2) == 0 || room < 32 ? room - 1 : _random.Between(16, room - 1);
        window.Add(_bos);
        window.AddRange(text.Skip((int)place).Take(length));
        if (window.Count < options.Context)
            window.Add(_eos);
    }
}
