using System.Globalization;

namespace LongLora.Training;

/// <summary>
/// Tells steps whose gradients are far larger than those before, which damaged text causes: a step is a spike if its gradient norm is more
/// than a factor times the median of the last 32. Spikes count among these too, so that a norm that stays high is accepted after at most
/// 16 of them.
/// </summary>
/// <param name="factor">The factor; 0 to find no spikes.</param>
internal sealed class SpikeGuard(double factor)
{
    // The norm falls steeply in the first steps, and a median of few says little.
    internal const int Window = 32,
        Fewest = 16;

    private readonly Queue<double> _norms = new();

    /// <summary>Whether it looks for spikes.</summary>
    public bool IsOn => factor > 0;

    /// <summary>Looks at the next step.</summary>
    /// <param name="norm">Its gradient norm before clipping, finite; the same on all ranks.</param>
    /// <returns>Whether it is a spike.</returns>
    public bool IsSpike(double norm)
    {
        if (!IsOn)
            return false;
        var isSpike = _norms.Count >= Fewest && norm > factor * Median();
        _norms.Enqueue(norm);
        if (_norms.Count > Window)
            _norms.Dequeue();
        return isSpike;
    }

    /// <summary>The norms that a resumed run needs to decide as this one would.</summary>
    public string Save() => string.Join(' ', _norms.Select(n => n.ToString("R", CultureInfo.InvariantCulture)));

    /// <summary>Takes over what <see cref="Save"/> gave; false if the text is something else.</summary>
    public bool TryRestore(string saved)
    {
        _norms.Clear();
        foreach (var word in saved.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (
                !double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture, out var norm)
                || !(norm >= 0)
                || _norms.Count == Window
            )
                return false;
            _norms.Enqueue(norm);
        }
        return true;
    }

    // The upper one of the two in the middle.
    private double Median() => _norms.Order().ElementAt(_norms.Count / 2);
}
