using LongLora.Attention;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

/// <summary>Full attention of a text that no rank has whole, against one rank.</summary>
public class RingAttentionTests
{
    private const int Size = 16;

    [Theory]
    [InlineData(16, 1)]
    [InlineData(17, 3)]
    [InlineData(1000, 3)]
    [InlineData(1_000_003, 8)]
    [InlineData(int.MaxValue, 7)]
    public void Plan_covers_each_token_once_in_equal_shares(int length, int ranks)
    {
        var plan = new RingPlan(length, ranks);
        var at = 0;
        foreach (var chunk in Enumerable.Range(0, ranks).SelectMany(plan.GetChunks).OrderBy(chunk => chunk.Start))
        {
            Assert.Equal(at, chunk.Start);
            Assert.True(chunk.Count >= 1);
            at = chunk.End;
        }
        Assert.Equal(length, at);
        Assert.InRange(plan.Longest - Enumerable.Range(0, ranks).Min(plan.Count), 0, 2);
        // Pairs of a token and an earlier one: none has more than a fortieth above its share, and one token for each of its own.
        double CountPairs(int rank) => plan.GetChunks(rank).Sum(chunk => (double)chunk.Count * ((long)chunk.Start + chunk.End + 1) / 2);
        var share = (double)length * (length + 1L) / 2 / ranks;
        Assert.All(Enumerable.Range(0, ranks), rank => Assert.InRange(CountPairs(rank), 0, share * 1.025 + 2.0 * length));
    }

    public static TheoryData<int, int, int> Heads =>
        [.. from ranks in new[] { 1, 2, 3, 4, 8 } from heads in new[] { (8, 8), (8, 2), (6, 1) } select (ranks, heads.Item1, heads.Item2)];

    [Theory]
    [MemberData(nameof(Heads))]
    public void Forward_is_that_of_one_rank(int ranks, int heads, int shared)
    {
        foreach (var length in new[] { 2 * ranks, 37, 256, 515 })
        {
            foreach (var isByTiles in new[] { false, true })
                Check(length, ranks, heads, shared, isByTiles);
        }
    }

    // Windows that end inside a chunk, at its border, and chunks before.
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void Forward_within_a_window_is_that_of_one_rank(int ranks)
    {
        foreach (var length in new[] { 128, 131 })
        {
            foreach (var window in new[] { 1, 2, 7, 8, 9, 16, 31, 33, 64, 100, 127, 128, 129, 500 })
            {
                Check(length, ranks, 4, 2, false, attention => attention.Within(window));
                Check(length, ranks, 4, 2, true, attention => attention.Within(window));
            }
        }
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    public void Forward_with_caps_and_sinks_is_that_of_one_rank(int ranks)
    {
        using var generator = new Generator(9, CPU);
        using var logits = new Weight("sinks", randn([6], generator: generator));
        foreach (var isByTiles in new[] { false, true })
        {
            Check(301, ranks, 6, 3, isByTiles, attention => attention.WithScoreCap(2));
            Check(301, ranks, 6, 3, isByTiles, attention => attention.Within(40).WithScoreCap(2));
            Check(301, ranks, 6, 3, isByTiles, attention => attention.WithSinks(logits));
            Check(301, ranks, 6, 3, isByTiles, attention => attention.Within(40).WithSinks(logits));
            Check(301, ranks, 6, 3, isByTiles, attention => attention.Within(200).WithScoreCap(3).WithSinks(logits));
        }
    }

    // What is joined is rounded once, not once for each rank.
    [Fact]
    public void Forward_in_bf16_is_as_exact_as_that_of_one_rank()
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = Make(400, 4, 2);
        var expected = new FullAttention().Forward(q, k, v).Output;
        Tensor Narrow(Tensor wide) => wide.to(ScalarType.BFloat16);
        var one = new FullAttention().Forward(Narrow(q), Narrow(k), Narrow(v)).Output;
        var many = Join(400, 8, ranks => new RingAttention(new RingPlan(400, 8), ranks), Narrow(q), Narrow(k), Narrow(v), 1).Output;
        Assert.Equal(ScalarType.BFloat16, many.dtype);
        Assert.InRange(Near.Difference(expected, many), 0, 1.5 * Near.Difference(expected, one));
    }

    [Fact]
    public void What_it_cannot_do_is_refused()
    {
        using var scope = NewDisposeScope();
        var attention = new RingAttention(new RingPlan(16, 1), SingleProcess.Instance);
        var heads = zeros(1, 2, 12, 4);
        var message = Assert.Throws<ShapeException>(() => attention.Forward(heads, heads, heads)).Message;
        Assert.Contains("16 tokens", message, StringComparison.Ordinal);
        Assert.Contains("[1, 2, 12, 4]", message, StringComparison.Ordinal);
        heads = zeros(1, 2, 16, 4);
        Assert.Throws<ShapeException>(() =>
            attention.Forward(
                heads,
                heads,
                heads,
                [
                    [8, 8],
                ]
            )
        );
        Assert.Throws<NotSupportedException>(() => attention.Attend(heads, heads, heads));
        Assert.Throws<NotSupportedException>(() => attention.Backward(heads, heads, heads, heads, default));
    }

    private static (Tensor Query, Tensor Key, Tensor Value) Make(int length, int heads, int shared)
    {
        using var generator = new Generator(5, CPU);
        Tensor Heads(long count) => randn([1, length, count, Size], generator: generator).transpose(1, 2);
        return (Heads(heads), Heads(shared), Heads(shared));
    }

    private static void Check(int length, int ranks, int heads, int shared, bool isByTiles, Func<IAttention, IAttention>? change = null)
    {
        using var scope = NewDisposeScope();
        var (q, k, v) = Make(length, heads, shared);
        change ??= attention => attention;
        var expected = change(new FullAttention()).Forward(q, k, v);
        // All heads at once, and one head group after the other.
        foreach (var slices in shared == 1 ? [1] : new[] { 1, shared })
        {
            var found = Join(
                length,
                ranks,
                own => change(new RingAttention(new RingPlan(length, ranks), own) { IsByTiles = isByTiles }),
                q,
                k,
                v,
                slices
            );
            var what = $"{length} tokens on {ranks} ranks, {heads} heads of {shared} in {slices} slices, by tiles {isByTiles}";
            Near.AssertEqual(expected.Output, found.Output, 2e-6, $"output of {what}");
            Near.AssertEqual(expected.LogSumExp!, found.LogSumExp!, 4e-6, $"log-sum-exps of {what}");
        }
    }

    // The results of all ranks, in the order of the text.
    private static AttentionResult Join(
        int length,
        int ranks,
        Func<ICommunicator, IAttention> make,
        Tensor query,
        Tensor key,
        Tensor value,
        int slices
    )
    {
        var plan = new RingPlan(length, ranks);
        var output = full_like(query, double.NaN);
        var sums = full([1, query.size(1), length], float.NaN);
        var parts = ThreadCommunicator.Run(ranks, own =>
        {
            var attention = make(own);
            Tensor Take(Tensor all) => cat([.. plan.GetChunks(own.Rank).Select(chunk => all.narrow(2, chunk.Start, chunk.Count))], 2);
            var (q, k, v) = (Take(query), Take(key), Take(value));
            var (o, l) = (empty_like(q), empty([1, q.size(1), q.size(2)]));
            for (var slice = 0; slice < slices; slice++)
            {
                Tensor Some(Tensor all) => all.narrow(1, slice * all.size(1) / slices, all.size(1) / slices);
                var heads = new HeadSlice((int)(slice * q.size(1) / slices), (int)(q.size(1) / slices), (int)q.size(1));
                if (slices == 1)
                    (o, l) = attention.Forward(q, k, v) is { LogSumExp: { } sum } made ? (made.Output, sum) : default;
                else
                    attention.Forward(Some(q), Some(k), Some(v), null, heads, new AttentionResult(Some(o), Some(l)));
            }
            return (Output: o, Sums: l);
        });
        for (var rank = 0; rank < ranks; rank++)
        {
            foreach (var chunk in plan.GetChunks(rank))
            {
                output.narrow(2, chunk.Start, chunk.Count).copy_(parts[rank].Output.narrow(2, chunk.At, chunk.Count));
                sums.narrow(2, chunk.Start, chunk.Count).copy_(parts[rank].Sums.narrow(2, chunk.At, chunk.Count));
            }
        }
        return new(output, sums);
    }
}
