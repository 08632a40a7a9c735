namespace LongLora.Distributed;

/// <summary>
/// Judges from the beats of ranks whether one is gone, frozen or hung. It has no clock and no messages of its own: the caller brings both.
/// </summary>
/// <param name="hosts">The machine of each rank.</param>
/// <param name="watched">The ranks that send their beats here: all, where it is judged whether they move on, or only rank 0.</param>
/// <param name="silence">How long a rank may say nothing.</param>
internal sealed class RankWatch(IReadOnlyList<string> hosts, IReadOnlyList<int> watched, TimeSpan silence)
{
    // Waiting ranks that move this much data are not stuck: a tenth of a slow network.
    private const double BytesPerSecond = 10e6;

    private readonly Beat[] _beats = new Beat[hosts.Count];
    private readonly TimeSpan[] _heard = new TimeSpan[hosts.Count],
        _moved = new TimeSpan[hosts.Count];

    private TimeSpan _ended;

    /// <summary>A rank's beat has come.</summary>
    internal void Hear(int rank, Beat beat, TimeSpan now)
    {
        ref var last = ref _beats[rank];
        if (beat.Ended != last.Ended || beat.WaitsFor != last.WaitsFor)
            _ended = now;
        if (beat.Ticks != last.Ticks || beat.Ended != last.Ended || beat.WaitsFor >= 0)
            _moved[rank] = now;
        (_heard[rank], last) = (now, beat);
    }

    /// <summary>This process itself was stopped, or has just begun: nobody is late yet.</summary>
    internal void Forgive(TimeSpan now)
    {
        Array.Fill(_heard, now);
        Array.Fill(_moved, now);
        _ended = now;
    }

    /// <summary>Why the job must end, naming the rank; null if all is well.</summary>
    internal string? Judge(TimeSpan now)
    {
        foreach (var rank in watched)
        {
            if (now - _heard[rank] > silence)
                return $"{Name(rank)} is silent for {Seconds(now - _heard[rank])} s: its process is stopped, or its machine or network is "
                    + "gone.";
            var beat = _beats[rank];
            if (watched.Count == hosts.Count && beat.WaitsFor < 0 && (now - _moved[rank]).TotalMilliseconds > beat.LimitMilliseconds)
                return $"{Name(rank)} has made no progress for {Seconds(now - _moved[rank])} s while {beat.What}, and is taken for hung. "
                    + "If it is only slow, raise rank-timeout.";
        }
        // Each waits for something that never comes: calls in different orders.
        if (watched.Count == hosts.Count && _beats.All(b => b.WaitsFor >= 0))
        {
            var limit = _beats.Max(b => b.LimitMilliseconds) / 1e3 + _beats.Max(b => b.Bytes) / BytesPerSecond;
            if ((now - _ended).TotalSeconds > limit)
                return $"all ranks wait for {Seconds(now - _ended)} s: "
                    + string.Join(", ", watched.Select(rank => $"{Name(rank)} for {_beats[rank].What}"))
                    + ".";
        }
        return null;
    }

    private string Name(int rank) => $"rank {rank} ({hosts[rank]})";

    private static string Seconds(TimeSpan span) => span.TotalSeconds.ToString("0.0", System.Globalization.CultureInfo.InvariantCulture);
}
