using LongLora.Attention;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

/// <summary>Attention of a text on several ranks against one rank: outputs, log-sum-exps and all gradients have the same bits.</summary>
public class SequenceAttentionTests
{
    private const int Size = 16;

    public static TheoryData<int, int, int> Heads()
    {
        var data = new TheoryData<int, int, int>();
        foreach (var ranks in new[] { 2, 3, 4, 8 })
        {
            // All heads their own, a quarter, one; and a cut at H/2 between heads that share.
            foreach (var (heads, shared) in new[] { (8, 8), (8, 2), (8, 1), (6, 3), (6, 1), (12, 3), (5, 5) })
                data.Add(ranks, heads, shared);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Heads))]
    public void One_text_has_the_bits_of_one_rank(int ranks, int heads, int shared)
    {
        foreach (var (length, group) in new[] { (1024, 128), (1000, 128), (1024, 256), (801, 200), (515, 128) })
            Check(
                new ShiftedSparseAttention(group),
                ranks,
                heads,
                shared,
                [
                    [length],
                ]
            );
    }

    [Theory]
    [MemberData(nameof(Heads))]
    public void Packed_documents_and_rows_have_the_bits_of_one_rank(int ranks, int heads, int shared)
    {
        foreach (
            var rows in new int[][][]
            {
                [
                    [300, 5, 421, 128, 170],
                ],
                [
                    [63, 65, 1, 700, 71],
                ],
                [
                    [64, 64, 64, 64],
                ],
                [
                    [200],
                    [200],
                    [200],
                ],
                [
                    [100, 28],
                    [128],
                ],
            }
        )
            Check(new ShiftedSparseAttention(64), ranks, heads, shared, rows);
    }

    [Theory]
    [InlineData("grouped")]
    [InlineData("dilated")]
    public void Other_patterns_have_the_bits_of_one_rank(string kind)
    {
        foreach (var ranks in new[] { 2, 3, 5 })
            Check(
                AttentionTests.Create(kind, 64),
                ranks,
                8,
                2,
                [
                    [610],
                ]
            );
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void Windows_caps_and_sinks_have_the_bits_of_one_rank(int ranks)
    {
        foreach (var length in new[] { 1024, 1000 })
        {
            foreach (var (heads, shared) in new[] { (8, 2), (6, 3) })
            {
                var all = new ShiftedSparseAttention(128);
                Check(
                    all,
                    ranks,
                    heads,
                    shared,
                    [
                        [length],
                    ],
                    a => a.Within(50)
                );
                Check(
                    all,
                    ranks,
                    heads,
                    shared,
                    [
                        [length],
                    ],
                    a => a.WithScoreCap(2)
                );
                Check(
                    all,
                    ranks,
                    heads,
                    shared,
                    [
                        [length],
                    ],
                    a => a.Within(48).WithScoreCap(2)
                );
                Check(
                    all,
                    ranks,
                    heads,
                    shared,
                    [
                        [length],
                    ],
                    sinks: true
                );
                Check(
                    all,
                    ranks,
                    heads,
                    shared,
                    [
                        [length],
                    ],
                    a => a.Within(50),
                    sinks: true
                );
            }
        }
    }

    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    public void Kernels_behind_autograd_have_the_bits_of_one_rank(int ranks) =>
        Check(
            new ShiftedSparseAttention(128) { IsByAutograd = true },
            ranks,
            6,
            3,
            [
                [1000],
            ]
        );

    // What a border costs does not depend on the text.
    [Theory]
    [InlineData(2048, 128, 2, 1)]
    [InlineData(8192, 128, 2, 1)]
    [InlineData(2048, 128, 8, 7)]
    [InlineData(2048, 512, 8, 7)]
    public void Bytes_over_a_border_depend_on_the_group_alone(int length, int group, int ranks, int borders)
    {
        const int heads = 8,
            shared = 2;
        // Right: (G/2) K (2 H + 2 J) elements; left: half of it; and log-sum-exps both ways.
        var elements = group / 2 * Size * (2 * heads + 2 * shared) * 3 / 2;
        var logSumExps = 2 * group / 2 * (heads / 2);
        Assert.Equal(
            4L * borders * (elements + logSumExps),
            Check(
                new ShiftedSparseAttention(group),
                ranks,
                heads,
                shared,
                [
                    [length],
                ]
            )
        );
    }

    [Fact]
    public void Forward_of_another_length_is_refused_with_both()
    {
        using var scope = NewDisposeScope();
        var part = SequencePlan
            .Make(
                new ShiftedSparseAttention(8),
                [
                    [32],
                ],
                2
            )
            .GetPart(0);
        var attention = new SequenceAttention(new ShiftedSparseAttention(8), part, new SequenceNeighbors(SingleProcess.Instance));
        var heads = zeros(1, 2, 12, 4);
        var error = Assert.Throws<ShapeException>(() => attention.Forward(heads, heads, heads));
        Assert.Contains("[1, 2, 12, 4]", error.Message, StringComparison.Ordinal);
        Assert.Contains("[1, H, 16, K]", error.Message, StringComparison.Ordinal);
        Assert.Throws<NotSupportedException>(() => attention.Attend(heads, heads, heads));
    }

    // Gives the bytes that all ranks send for all heads at once, forward and backward.
    private static long Check(
        IAttention attention,
        int ranks,
        int heads,
        int shared,
        int[][] rows,
        Func<IAttention, IAttention>? change = null,
        bool sinks = false
    )
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(5, CPU);
        var (batch, length) = (rows.Length, rows[0].Sum());
        Tensor Make(long count) => randn([batch, length, count, Size], generator: generator).transpose(1, 2);
        Tensor q = Make(heads),
            k = Make(shared),
            v = Make(shared),
            g = Make(heads);
        var logits = randn([heads], generator: generator);
        var plan = SequencePlan.Make(attention, rows, ranks);
        var documents = rows.Any(row => row.Length > 1) ? rows : null;
        var sent = 0L;
        // All heads at once, and one head group after the other.
        foreach (var slices in shared == 1 ? [1] : new[] { 1, shared })
        {
            var (whole, wholeSinks) = Change(attention, change, sinks ? logits : null);
            var expected = Run(whole, t => t, q, k, v, g, slices, documents);
            var parts = ThreadCommunicator.Run(ranks, communicator =>
            {
                var part = plan.GetPart(communicator.Rank);
                if (part.Length == 0)
                    return default;
                var neighbors = new SequenceNeighbors(communicator);
                var (own, ownSinks) = Change(
                    new SequenceAttention((PatternAttention)attention, part, neighbors),
                    change,
                    sinks ? logits : null
                );
                var results = Run(own, t => Flatten(t).narrow(2, part.Start, part.Length), q, k, v, g, slices, null);
                return (Results: results, Sinks: ownSinks?.GetGradient(), neighbors.SentBytes);
            });
            for (var i = 0; i < expected.Length; i++)
            {
                var found = cat([.. parts.Where(p => p.Results is not null).Select(p => p.Results[i])], 2);
                var difference = (found - Flatten(expected[i])).abs().max().item<float>();
                Assert.True(
                    difference == 0,
                    $"{attention} of {string.Join(" / ", rows.Select(r => string.Join('+', r)))} on {ranks} ranks, {heads} heads of "
                        + $"{shared} in {slices} slices: tensor {i} differs by {difference}"
                );
            }
            if (wholeSinks is not null)
            {
                var sum = parts.Where(p => p.Sinks is not null).Select(p => p.Sinks!).Aggregate((a, b) => a + b);
                Near.AssertRelative(wholeSinks.GetGradient(), sum, 1e-6, "sinks");
            }
            if (slices == 1)
                sent = parts.Sum(p => p.SentBytes);
            else
                Assert.Equal(sent, parts.Sum(p => p.SentBytes));
        }
        return sent;
    }

    private static (IAttention, Weight?) Change(IAttention attention, Func<IAttention, IAttention>? change, Tensor? logits)
    {
        attention = change?.Invoke(attention) ?? attention;
        if (logits is null)
            return (attention, null);
        var sinks = new Weight("sinks", logits.clone().requires_grad_(true));
        sinks.Value.grad = zeros_like(logits);
        return (attention.WithSinks(sinks), sinks);
    }

    // [B, H, L, ..] -> [1, H, B L, ..]
    private static Tensor Flatten(Tensor heads) => heads.transpose(1, 2).flatten(0, 1).unsqueeze(0).transpose(1, 2);

    // Output, log-sum-exp, and the gradients of queries, keys and values.
    private static Tensor[] Run(
        IAttention attention,
        Func<Tensor, Tensor> select,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor gradient,
        int slices,
        int[][]? documents
    )
    {
        using var noGradient = no_grad();
        var results = Enumerable.Range(0, 5).Select(_ => new List<Tensor>()).ToArray();
        var (heads, shared) = ((int)query.size(1), (int)key.size(1));
        for (var slice = 0; slice < slices; slice++)
        {
            HeadSlice? part = slices == 1 ? null : new HeadSlice(heads / slices * slice, heads / slices, heads);
            Tensor Narrow(Tensor all) => select(all).narrow(1, all.size(1) / slices * slice, all.size(1) / slices);
            var (q, k, v, g) = (Narrow(query), Narrow(key), Narrow(value), Narrow(gradient));
            var result = attention.Forward(q, k, v, documents, part);
            var back = attention.Backward(g, q, k, v, result, documents, part);
            Tensor[] all = result.LogSumExp is { } logSumExp
                ? [result.Output, back.Query, back.Key, back.Value, logSumExp]
                : [result.Output, back.Query, back.Key, back.Value];
            for (var i = 0; i < all.Length; i++)
                results[i].Add(all[i]);
        }
        return [.. results.Where(r => r.Count > 0).Select(r => cat(r, 1))];
    }
}
