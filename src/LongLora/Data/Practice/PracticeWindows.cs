using System.Buffers.Binary;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Windows of exactly one context for training a small model: whole generated documents of all lengths that fit, each between BOS and EOS,
/// and passages of running text in the remaining space. No generated document is cut, so the answer to every question is in the window.
/// </summary>
/// <param name="tokenizer">Makes the tokens. It must have BOS and EOS.</param>
/// <param name="texts">Running text, such as books. It may be empty if everything is generated.</param>
/// <param name="options">The mixture.</param>
internal sealed class PracticeWindows(ITokenizer tokenizer, IReadOnlyList<IReadOnlyList<int>> texts, PracticeOptions options)
{
    private const double CharactersPerToken = 3.2;
    private const int Attempts = 6;

    private readonly PracticeOptions _options = Checked(options, texts);
    private readonly SplitMix64 _random = new((ulong)options.Seed * 0x9E3779B97F4A7C15);
    private readonly int _bos = tokenizer.BosTokenId
        ?? throw new ConfigurationException(
            "Cannot make practice windows because the tokenizer has no BOS. Use a tokenizer with BOS and EOS."
        );
    private readonly int _eos = tokenizer.EosTokenId
        ?? throw new ConfigurationException(
            "Cannot make practice windows because the tokenizer has no EOS. Use a tokenizer with BOS and EOS."
        );
    private readonly long _textTokens = texts.Sum(t => (long)t.Count);

    /// <summary>Makes the windows one after the other. Each has exactly <see cref="PracticeOptions.Context"/> ids.</summary>
    public IEnumerable<int[]> Make()
    {
        var practice = new RetrievalPractice(_random);
        for (var i = 0; i < _options.Windows; i++)
        {
            var window = new List<int>(_options.Context);
            while (window.Count < _options.Context)
            {
                var room = _options.Context - window.Count;
                if (_random.Share() < _options.Generated && Generate(practice, room) is { } ids)
                    window.AddRange(ids);
                else
                    AddPassage(window, room);
            }
            yield return [.. window];
        }
    }

    /// <summary>Bytes of a token in the file: 2 for up to 65,536 ids, else 4.</summary>
    public static int GetWidth(ITokenizer tokenizer) => tokenizer.VocabularySize <= 1 << 16 ? 2 : 4;

    /// <summary>Writes a window as tokens in LongLoRA's <c>.bin</c> format, little-endian.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="window">The ids.</param>
    /// <param name="width">Bytes of a token, as <see cref="GetWidth"/> gives them.</param>
    public static void Write(Stream stream, ReadOnlySpan<int> window, int width = 2)
    {
        var bytes = new byte[width * window.Length];
        for (var i = 0; i < window.Length; i++)
        {
            if (width == 2)
                BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2 * i), checked((ushort)window[i]));
            else
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4 * i), window[i]);
        }
        stream.Write(bytes);
    }

    private static PracticeOptions Checked(PracticeOptions options, IReadOnlyList<IReadOnlyList<int>> texts)
    {
        options.Validate(hasText: texts.Any(t => t.Count > 0));
        return options;
    }

    // Null if no document was small enough, because little room is left.
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
        var place = _random.Share() * _options.Weights.Sum();
        for (var i = 0; i < _options.Weights.Count; i++)
        {
            place -= _options.Weights[i];
            if (place < 0)
                return (PracticeKind)i;
        }
        return PracticeKind.Repetition;
    }

    // A passage from a random position of a text; without texts, end-of-text tokens.
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
        // Half of the passages fill the window; the others leave room for something else.
        var length = _random.Below(2) == 0 || room < 32 ? room - 1 : _random.Between(16, room - 1);
        window.Add(_bos);
        window.AddRange(text.Skip((int)place).Take(length));
        if (window.Count < _options.Context)
            window.Add(_eos);
    }
}
