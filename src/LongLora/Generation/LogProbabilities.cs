namespace LongLora.Generation;

/// <summary>Log-probabilities of one place, taken before the sampler changes the logits.</summary>
internal sealed class LogProbabilities
{
    private readonly float[] _logits;
    private readonly double _logSum;
    private readonly int _count;

    /// <summary>Takes the logits of a place.</summary>
    /// <param name="logits">[V]; copied.</param>
    /// <param name="count">Likeliest tokens to tell.</param>
    internal LogProbabilities(ReadOnlySpan<float> logits, int count)
    {
        (_logits, _count) = (logits.ToArray(), count);
        var largest = _logits.Max();
        _logSum = largest + Math.Log(_logits.Sum(logit => Math.Exp(logit - (double)largest)));
    }

    /// <summary>What is told of a token.</summary>
    internal TokenLogProbability Of(int token) => new(token, _logits[token] - _logSum, Likeliest());

    // The first of equals first, as the greedy choice has it.
    private (int, double)[] Likeliest()
    {
        var best = new PriorityQueue<int, (float, int)>();
        for (var id = 0; id < _logits.Length && _count > 0; id++)
        {
            if (best.Count < _count)
                best.Enqueue(id, (_logits[id], -id));
            else if (_logits[id] > _logits[best.Peek()])
                best.EnqueueDequeue(id, (_logits[id], -id));
        }
        var told = new (int, double)[best.Count];
        for (var place = told.Length - 1; place >= 0; place--)
        {
            var id = best.Dequeue();
            told[place] = (id, _logits[id] - _logSum);
        }
        return told;
    }
}
