namespace LongLora.Generation;

// V vocabulary

/// <summary>
/// Chooses the next token from logits. The order is that of common engines: repetition penalty, temperature, top-k, top-p, min-p, draw.
/// The same seed draws the same tokens from the same logits on every machine.
/// </summary>
internal sealed class TokenSampler
{
    private readonly GenerationOptions _options;
    private readonly Random _random;
    private int[] _order = [];
    private float[] _keys = [];

    /// <summary>A sampler at its beginning.</summary>
    /// <param name="options">How to choose.</param>
    /// <param name="stream">Number of the text, so that the texts of a batch are drawn independently.</param>
    public TokenSampler(GenerationOptions options, int stream = 0) =>
        (_options, _random) = (options, new Random(unchecked(options.Seed + 1_000_003 * stream)));

    /// <summary>The next token.</summary>
    /// <param name="logits">[V]; changed.</param>
    /// <param name="seen">Token ids of the text so far, for the repetition penalty.</param>
    public int Next(Span<float> logits, IReadOnlyCollection<int> seen)
    {
        Penalise(logits, seen);
        return _options.Temperature == 0 ? Largest(logits) : Draw(logits);
    }

    // The first of equals, as argmax has it everywhere.
    private static int Largest(ReadOnlySpan<float> logits)
    {
        var best = 0;
        for (var i = 1; i < logits.Length; i++)
        {
            if (logits[i] > logits[best])
                best = i;
        }
        return best;
    }

    private void Penalise(Span<float> logits, IReadOnlyCollection<int> seen)
    {
        if (_options.RepetitionPenalty == 1)
            return;
        foreach (var id in seen.Distinct())
            logits[id] = (float)(logits[id] > 0 ? logits[id] / _options.RepetitionPenalty : logits[id] * _options.RepetitionPenalty);
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
        count = Nucleus(weights);
        var floor = _options.MinP * weights[0];
        while (count > 1 && weights[count - 1] < floor)
            count--;
        var point = _random.NextDouble() * weights.AsSpan(0, count).ToArray().Sum();
        for (var i = 0; i < count; i++)
        {
            point -= weights[i];
            if (point < 0)
                return _order[i];
        }
        return _order[count - 1];
    }

    // How many of the likeliest reach top-p.
    private int Nucleus(double[] weights)
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
