using LongLora.Data;

namespace LongLora.Generation;

// V vocabulary

/// <summary>
/// Chooses the next token from logits: the only place that does. The order is that of common engines: bias, penalties, forbidden tokens,
/// temperature, top-k, top-p, min-p, draw. The same seed draws the same tokens from the same logits on every machine.
/// </summary>
internal sealed class TokenSampler
{
    private readonly GenerationOptions _options;
    private readonly SplitMix64 _random;
    private readonly HashSet<int> _seen = []; // in the prompt or the answer
    private readonly Dictionary<int, int> _counts = []; // in the answer
    private int[] _order = [];
    private float[] _keys = [];

    /// <summary>A sampler at its beginning.</summary>
    /// <param name="options">How to choose.</param>
    /// <param name="stream">Number of the text, so that the texts of a batch are drawn independently.</param>
    public TokenSampler(GenerationOptions options, int stream = 0)
    {
        (_options, Seed) = (options, options.Seed ?? DrawSeed());
        _random = new SplitMix64(unchecked((ulong)Seed + ((ulong)stream * 0xD1B54A32D192ED03)));
    }

    /// <summary>The seed, given or fresh.</summary>
    public long Seed { get; }

    /// <summary>A seed that nobody has used before. JavaScript can represent it exactly.</summary>
    public static long DrawSeed() => Random.Shared.NextInt64(1L << 53);

    /// <summary>Starts a text.</summary>
    /// <param name="prompt">Token ids that it continues.</param>
    public void Begin(IEnumerable<int> prompt)
    {
        _seen.Clear();
        _seen.UnionWith(prompt);
        _counts.Clear();
    }

    /// <summary>Chooses the next token of the text.</summary>
    /// <param name="logits">[V]; changed.</param>
    /// <param name="forbidden">Token ids that must not be chosen.</param>
    public int Next(Span<float> logits, IReadOnlyCollection<int> forbidden)
    {
        foreach (var (id, bias) in _options.LogitBias)
            logits[id] += (float)bias;
        Penalize(logits);
        foreach (var id in forbidden)
        {
            if (id < logits.Length)
                logits[id] = float.NegativeInfinity;
        }
        var chosen = _options.Temperature == 0 ? FindLargest(logits) : Draw(logits);
        _seen.Add(chosen);
        _counts[chosen] = _counts.GetValueOrDefault(chosen) + 1;
        return chosen;
    }

    // The first of equals, as argmax has it everywhere.
    private static int FindLargest(ReadOnlySpan<float> logits)
    {
        var best = 0;
        for (var i = 1; i < logits.Length; i++)
        {
            if (logits[i] > logits[best])
                best = i;
        }
        return best;
    }

    private void Penalize(Span<float> logits)
    {
        if (_options.RepetitionPenalty != 1)
        {
            foreach (var id in _seen)
                logits[id] = (float)(logits[id] > 0 ? logits[id] / _options.RepetitionPenalty : logits[id] * _options.RepetitionPenalty);
        }
        if (_options.FrequencyPenalty == 0 && _options.PresencePenalty == 0)
            return;
        foreach (var (id, count) in _counts)
            logits[id] -= (float)((_options.FrequencyPenalty * count) + _options.PresencePenalty);
    }

    private int Draw(ReadOnlySpan<float> logits)
    {
        if (_order.Length != logits.Length)
            (_order, _keys) = (new int[logits.Length], new float[logits.Length]);
        for (var i = 0; i < _order.Length; i++)
            (_order[i], _keys[i]) = (i, -logits[i]);
        Array.Sort(_keys, _order); // likeliest first
        var count = _options.TopK > 0 ? Math.Min(_options.TopK, _order.Length) : _order.Length;
        var weights = new double[count];
        for (var i = 0; i < count; i++)
            weights[i] = Math.Exp((_keys[0] - _keys[i]) / _options.Temperature);
        count = CountNucleus(weights);
        var floor = _options.MinP * weights[0];
        while (count > 1 && weights[count - 1] < floor)
            count--;
        var point = _random.Share() * weights.AsSpan(0, count).ToArray().Sum();
        for (var i = 0; i < count; i++)
        {
            point -= weights[i];
            if (point < 0)
                return _order[i];
        }
        return _order[count - 1];
    }

    // How many of the likeliest reach top-p.
    private int CountNucleus(double[] weights)
    {
        if (_options.TopP >= 1)
            return weights.Length;
        var (wanted, sum) = (_options.TopP * weights.Sum(), 0.0);
        for (var i = 0; i < weights.Length; i++)
        {
            sum += weights[i];
            if (sum >= wanted)
                return i + 1;
        }
        return weights.Length;
    }
}
