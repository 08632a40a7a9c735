using LongLora.Distributed;

namespace LongLora.Tests.Distributed;

/// <summary>The judge of ranks, with a clock that the test turns.</summary>
public class RankWatchTests
{
    private static readonly string[] s_hosts = ["alpha", "alpha", "beta"];

    private readonly RankWatch _watch = new(s_hosts, [0, 1, 2], TimeSpan.FromSeconds(5));
    private readonly long[] _ticks = new long[3],
        _ended = new long[3];

    // All ranks send a beat each half second, but for those that are silent; busy ones tick, waiting ones wait.
    private string? Live(double from, double to, int[] silent, int[] still, Func<int, long>? waitsFor = null, long bytes = 0)
    {
        for (var at = from; at <= to; at += 0.5)
        {
            for (var rank = 0; rank < 3; rank++)
            {
                if (silent.Contains(rank))
                    continue;
                if (!still.Contains(rank))
                    _ticks[rank]++;
                var beat = new Beat
                {
                    Ticks = _ticks[rank],
                    Ended = _ended[rank],
                    WaitsFor = waitsFor?.Invoke(rank) ?? -1,
                    Bytes = bytes,
                    LimitMilliseconds = 8000,
                    What = "computing",
                };
                _watch.Hear(rank, beat, TimeSpan.FromSeconds(at));
            }
            if (_watch.Judge(TimeSpan.FromSeconds(at)) is { } verdict)
                return $"{at}: {verdict}";
        }
        return null;
    }

    [Fact]
    public void Judge_ranks_that_tick_are_well() => Assert.Null(Live(0, 100, [], []));

    [Fact]
    public void Judge_a_silent_rank_is_named_after_five_seconds()
    {
        Assert.Null(Live(0, 10, [], []));
        Assert.StartsWith("15.5: rank 2 (beta) is silent for 5.5 s", Live(10.5, 30, [2], []), StringComparison.Ordinal);
    }

    [Fact]
    public void Judge_a_rank_without_a_tick_is_named_after_its_limit()
    {
        Assert.Null(Live(0, 10, [], []));
        var verdict = Live(10.5, 30, [], [1]);
        Assert.StartsWith("18.5: rank 1 (alpha) has made no progress for 8.5 s while computing", verdict, StringComparison.Ordinal);
        Assert.Contains("rank-timeout", verdict, StringComparison.Ordinal);
    }

    [Fact]
    public void Judge_ranks_that_wait_for_a_slow_one_are_well() => Assert.Null(Live(0, 100, [], [0, 1], rank => rank == 2 ? -1 : 7));

    [Fact]
    public void Judge_ranks_that_all_wait_are_named_unless_data_moves()
    {
        Assert.Null(Live(0, 10, [], []));
        Assert.Null(Live(10.5, 25, [], [0, 1, 2], _ => 7, bytes: 200_000_000)); // 20 s at a tenth of a slow network
        var verdict = Live(25.5, 60, [], [0, 1, 2], rank => 8 + rank, bytes: 4);
        Assert.StartsWith("34: all ranks wait for 8.5 s: rank 0 (alpha) for computing, rank 1", verdict, StringComparison.Ordinal);
    }

    [Fact]
    public void Forgive_a_process_that_was_stopped_itself_accuses_nobody()
    {
        Assert.Null(Live(0, 10, [], []));
        _watch.Forgive(TimeSpan.FromSeconds(1000));
        Assert.Null(Live(1000, 1003, [], []));
    }

    [Fact]
    public void Judge_others_than_rank_zero_watch_only_its_silence()
    {
        var watch = new RankWatch(s_hosts, [0], TimeSpan.FromSeconds(5));
        watch.Hear(0, new Beat { WaitsFor = -1, LimitMilliseconds = 100 }, TimeSpan.Zero);
        Assert.Null(watch.Judge(TimeSpan.FromSeconds(4)));
        Assert.StartsWith("rank 0 (alpha) is silent", watch.Judge(TimeSpan.FromSeconds(5.5)), StringComparison.Ordinal);
    }

    [Fact]
    public void What_long_texts_are_cut_and_short_ones_are_whole()
    {
        var beat = new Beat { What = "é" };
        Assert.Equal("é", beat.What);
        beat.What = new string('x', 100);
        Assert.Equal(new string('x', 56), beat.What);
        beat.What = "short";
        Assert.Equal("short", beat.What);
    }
}
