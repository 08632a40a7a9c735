using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>
/// What every communicator must do, as code that each rank runs. A check is found by its name, because a rank may be a process of its own.
/// It throws if a rank sees something else.
/// </summary>
internal static class CommunicatorChecks
{
    /// <summary>Every check by name.</summary>
    internal static IReadOnlyDictionary<string, Action<ICommunicator>> All { get; } =
        new Action<ICommunicator>[]
        {
            Ranks_know_their_places,
            AllReduce_sums_and_takes_the_largest_of_every_type,
            AllReduce_gives_all_ranks_the_same_bits,
            ReduceScatter_gives_each_rank_its_part,
            AllGather_puts_the_parts_together,
            Broadcast_gives_all_the_tensor_of_one,
            Exchange_with_neighbors_keeps_the_order,
            Exchange_concerns_only_its_peers,
            Several_operations_are_under_way_at_once,
            Split_makes_groups_in_the_order_of_keys,
            Phases_and_ticks_change_nothing,
            Calls_that_cannot_be_right_are_refused,
        }.ToDictionary(c => c.Method.Name, InScope);

    // A tensor without a variable of its own is otherwise free to be collected while libtorch reads it.
    private static Action<ICommunicator> InScope(Action<ICommunicator> check) =>
        communicator =>
        {
            using var scope = NewDisposeScope();
            check(communicator);
        };

    private static void Ranks_know_their_places(ICommunicator c)
    {
        Assert.InRange(c.Rank, 0, c.Size - 1);
        Assert.InRange(c.LocalRank, 0, c.LocalSize - 1);
        Assert.Equal(c.Size, c.Hosts.Count);
        Assert.Equal(Environment.MachineName, c.Hosts[c.Rank]);
        using var seen = zeros(c.Size, ScalarType.Int64);
        seen[c.Rank] = 1;
        c.AllReduce(seen, Reduction.Sum).Wait();
        Assert.All(seen.data<long>().ToArray(), count => Assert.Equal(1, count));
    }

    private static void AllReduce_sums_and_takes_the_largest_of_every_type(ICommunicator c)
    {
        foreach (var type in (ScalarType[])[ScalarType.Int64, ScalarType.Float32, ScalarType.Float64])
        {
            foreach (var count in (int[])[1, 7, 100_003])
            {
                // Whole numbers, which every type adds exactly.
                using var sum = Numbers(c.Rank, count).to(type);
                using var largest = sum.clone();
                c.AllReduce(sum, Reduction.Sum).Wait();
                c.AllReduce(largest, Reduction.Max).Wait();
                var all = Enumerable.Range(0, c.Size).Select(rank => Numbers(rank, count)).ToList();
                AssertSame(all.Aggregate((a, b) => a.add(b, Scalars.One)).to(type), sum);
                AssertSame(all.Aggregate(maximum).to(type), largest);
            }
        }
        using var big = full([1], 1L << 61, ScalarType.Int64); // beyond what fp64 holds exactly
        big.data<long>()[0] += c.Rank == 0 ? 1 : -(1L << 61);
        c.AllReduce(big, Reduction.Sum).Wait();
        Assert.Equal((1L << 61) + 1, big.data<long>()[0]);
    }

    private static void AllReduce_gives_all_ranks_the_same_bits(ICommunicator c)
    {
        using var generator = new Generator((ulong)c.Rank);
        using var mine = randn([50_021], generator: generator);
        c.AllReduce(mine, Reduction.Sum).Wait();
        using var roots = mine.clone();
        c.Broadcast(roots, 0).Wait();
        AssertSame(roots, mine);
    }

    private static void ReduceScatter_gives_each_rank_its_part(ICommunicator c)
    {
        foreach (var borders in Borders(c.Size, 1_000))
        {
            using var all = Numbers(c.Rank, 1_000).to(ScalarType.Float32);
            c.ReduceScatter(all, borders).Wait();
            var sum = Enumerable
                .Range(0, c.Size)
                .Select(rank => Numbers(rank, 1_000))
                .Aggregate((a, b) => a.add(b, Scalars.One))
                .to(ScalarType.Float32);
            AssertSame(Part(sum, borders, c.Rank), Part(all, borders, c.Rank));
        }
    }

    private static void AllGather_puts_the_parts_together(ICommunicator c)
    {
        foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Int64, ScalarType.Byte])
        {
            foreach (var borders in Borders(c.Size, 1_000))
            {
                using var all = zeros(1_000, type);
                Part(all, borders, c.Rank).copy_(Part(Numbers(0, 1_000), borders, c.Rank));
                c.AllGather(all, borders).Wait();
                AssertSame(Numbers(0, 1_000).to(type), all);
            }
        }
    }

    private static void Broadcast_gives_all_the_tensor_of_one(ICommunicator c)
    {
        for (var root = 0; root < c.Size; root++)
        {
            foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.BFloat16, ScalarType.Bool, ScalarType.Int64])
            {
                using var tensor = Numbers(c.Rank, 5_001).to(type);
                c.Broadcast(tensor, root).Wait();
                AssertSame(Numbers(root, 5_001).to(type), tensor);
            }
        }
    }

    private static void Exchange_with_neighbors_keeps_the_order(ICommunicator c)
    {
        var (left, right) = ((c.Rank + c.Size - 1) % c.Size, (c.Rank + 1) % c.Size);
        Tensor[] sent = [Numbers(c.Rank, 100_000), Numbers(c.Rank + 100, 3)],
            come = [zeros_like(sent[0]), zeros_like(sent[1])];
        c.Exchange([(right, sent[0]), (right, sent[1])], [(left, come[0]), (left, come[1])]).Wait();
        AssertSame(Numbers(left, 100_000), come[0]);
        AssertSame(Numbers(left + 100, 3), come[1]);
    }

    private static void Exchange_concerns_only_its_peers(ICommunicator c)
    {
        // From each rank to the one on its right, without a ring: the last has nobody to send to, the first receives nothing.
        using var sent = Numbers(c.Rank, 64);
        using var come = zeros_like(sent);
        for (var round = 0; round < 3; round++)
        {
            var sends = c.Rank + 1 < c.Size ? [(c.Rank + 1, sent)] : Array.Empty<(int, Tensor)>();
            var receives = c.Rank > 0 ? [(c.Rank - 1, come)] : Array.Empty<(int, Tensor)>();
            c.Exchange(sends, receives).Wait();
        }
        AssertSame(c.Rank > 0 ? Numbers(c.Rank - 1, 64) : zeros_like(sent), come);
    }

    private static void Several_operations_are_under_way_at_once(ICommunicator c)
    {
        var tensors = Enumerable.Range(0, 8).Select(i => full([10_000 + i], (long)(i + c.Rank), ScalarType.Int64)).ToList();
        var pending = tensors.ConvertAll(t => c.AllReduce(t, Reduction.Sum));
        pending.Reverse(); // in another order than they began
        pending.ForEach(p => p.Wait());
        for (var i = 0; i < tensors.Count; i++)
            Assert.Equal(Enumerable.Range(0, c.Size).Sum(rank => (long)i + rank), tensors[i][^1].item<long>());
    }

    private static void Split_makes_groups_in_the_order_of_keys(ICommunicator c)
    {
        for (var round = 0; round < 2; round++)
        {
            var color = c.Rank % 2;
            using var group = c.Split(color, -c.Rank);
            var members = Enumerable.Range(0, c.Size).Where(r => r % 2 == color).Reverse().ToList();
            Assert.Equal(members.Count, group.Size);
            Assert.Equal(members.IndexOf(c.Rank), group.Rank);
            Assert.Equal(group.Size, group.Hosts.Count);
            using var sum = full([3], (long)c.Rank, ScalarType.Int64);
            group.AllReduce(sum, Reduction.Sum).Wait();
            Assert.Equal(members.Sum(), sum[0].item<long>());
            // The ranks of one group do not disturb those of another, nor the whole.
            using var all = full([3], 1L, ScalarType.Int64);
            c.AllReduce(all, Reduction.Sum).Wait();
            Assert.Equal(c.Size, all[0].item<long>());
        }
    }

    private static void Phases_and_ticks_change_nothing(ICommunicator c)
    {
        using (c.Phase("saving", TimeSpan.FromMinutes(1)))
        using (c.Phase("hashing", TimeSpan.FromMinutes(2)))
            c.Tick();
        using var sum = ones(1);
        c.AllReduce(sum, Reduction.Sum).Wait();
        Assert.Equal(c.Size, sum.item<float>());
    }

    private static void Calls_that_cannot_be_right_are_refused(ICommunicator c)
    {
        using var half = zeros(4, ScalarType.BFloat16);
        using var slanted = zeros(2, 3).t();
        Assert.ThrowsAny<Exception>(() => c.AllReduce(half, Reduction.Sum));
        Assert.ThrowsAny<Exception>(() => c.AllReduce(slanted, Reduction.Sum));
        Assert.ThrowsAny<Exception>(() => c.Broadcast(slanted, 0));
        Assert.ThrowsAny<Exception>(() => c.Broadcast(half, c.Size));
        Assert.ThrowsAny<Exception>(() => c.AllGather(half, [0, 5]));
        Assert.ThrowsAny<Exception>(() => c.Exchange([(c.Size, half)], []));
    }

    // Even parts; parts that differ, some empty; all on the last rank.
    private static IEnumerable<long[]> Borders(int size, long count)
    {
        yield return [.. Enumerable.Range(0, size + 1).Select(r => count * r / size)];
        yield return [.. Enumerable.Range(0, size).Select(r => Math.Min(count, r / 2 * 17L)), count];
        yield return [.. Enumerable.Repeat(0L, size), count];
    }

    private static Tensor Part(Tensor all, long[] borders, int rank) => all.narrow(0, borders[rank], borders[rank + 1] - borders[rank]);

    private static Tensor Numbers(int rank, int count) =>
        from_array(Enumerable.Range(0, count).Select(i => (long)((i * 7919 + rank * 104_729) % 1_009) - 500).ToArray());

    private static void AssertSame(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.True(expected.equal(actual).all().item<bool>(), $"expected {expected}, got {actual}");
    }
}
