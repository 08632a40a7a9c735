using LongLora.Data;

namespace LongLora.Generation;

// V vocabulary

/// <summary>
/// Chooses the next token from logits: the only place that does. The order is that of common engines: bias, penalties, forbidden tokens,
/// temperature, top-k, top-p, min-p, draw. The same seed draws the same tokens from the same logits on every machine.
/// </summary>
internal sealed class TokenSampler
{
    // Tokens whose probability is at least e^-8 of the likeliest one's.
    private const double LikelyRange = 8;

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

    // Most draws end among the likeliest tokens, so at first only these are sorted: a vocabulary takes as long as some blocks of a model.
    private int Draw(ReadOnlySpan<float> logits)
    {
        var share = _random.Share();
        var largest = logits[FindLargest(logits)];
        return DrawAmong(logits, largest, (float)(largest - LikelyRange * _options.Temperature), share)
            ?? DrawAmong(logits, largest, float.NegativeInfinity, share)!.Value;
    }

    // The token at a share of the probabilities of those that the options keep; null if others than those from a logit on matter.
    private int? DrawAmong(ReadOnlySpan<float> logits, float largest, float from, double share)
    {
        var found = SortFrom(logits, from);
        var most = _options.TopK > 0 ? Math.Min(_options.TopK, logits.Length) : logits.Length;
        if (found < most && _options.TopK > 0)
            return null;
        var weights = new double[Math.Min(found, most)];
        for (var i = 0; i < weights.Length; i++)
            weights[i] = Weigh(-_keys[i], largest);
        var isWhole = weights.Length == most; // no token is missing
        var sum = isWhole ? Sum(weights) : SumAll(logits, largest);
        var count = CountKept(weights, sum, isWhole);
        if (count is null && (_options.TopP < 1 || _options.MinP > 0))
            return null;
        if (count is { } kept)
            sum = Sum(weights.AsSpan(0, kept));
        var point = share * sum;
        for (var i = 0; i < (count ?? weights.Length); i++)
        {
            point -= weights[i];
            if (point < 0)
                return _order[i];
        }
        return count is { } last ? _order[last - 1] : null;
    }

    // How many of the likeliest are kept; null if tokens that are not among the weights may be kept, too.
    private int? CountKept(double[] weights, double sum, bool isWhole)
    {
        int? count = isWhole ? weights.Length : null;
        if (_options.TopP < 1)
        {
            var (wanted, reached) = (_options.TopP * sum, 0.0);
            for (var i = 0; i < weights.Length; i++)
            {
                reached += weights[i];
                if (reached < wanted)
                    continue;
                count = i + 1;
                break;
            }
        }
        var floor = _options.MinP * weights[0];
        var likely = Array.FindIndex(weights, weight => weight < floor);
        return likely < 0 ? count : Math.Min(Math.Max(1, likely), count ?? likely);
    }

    private double Weigh(float logit, float largest) => Math.Exp((logit - largest) / _options.Temperature);

    private double SumAll(ReadOnlySpan<float> logits, float largest)
    {
        var sum = 0.0;
        foreach (var logit in logits)
            sum += Weigh(logit, largest);
        return sum;
    }

    private static double Sum(ReadOnlySpan<double> weights)
    {
        var sum = 0.0;
        foreach (var weight in weights)
            sum += weight;
        return sum;
    }

    // The tokens from a logit on, likeliest first; how many they are.
    private int SortFrom(ReadOnlySpan<float> logits, float from)
    {
        if (_order.Length != logits.Length)
            (_order, _keys) = (new int[logits.Length], new float[logits.Length]);
        var count = 0;
        for (var i = 0; i < logits.Length; i++)
        {
            if (!(logits[i] < from))
                (_order[count], _keys[count++]) = (i, -logits[i]);
        }
        Array.Sort(_keys, _order, 0, count);
        return count;
    }
}
