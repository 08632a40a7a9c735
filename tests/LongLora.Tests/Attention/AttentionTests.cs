using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

public class AttentionTests
{
    // The definition in docs/architecture.md, written apart from the code: may query q of head h look at key k? One group is full
    // attention.
    private static bool Allowed(IAttention kind, int group, int heads, int length, int h, int q, int k) =>
        k <= q
        && kind switch
        {
            FullAttention => true,
            GroupedAttention => q / group == k / group,
            ShiftedSparseAttention => length <= group
                || (h < heads / 2 ? q / group == k / group : (q + group / 2) / group == (k + group / 2) / group),
            DilatedAttention when h < heads / 2 || q >= length / (2 * group) * 2 * group => q / group == k / group,
            DilatedAttention => q / (2 * group) == k / (2 * group) && q % 2 == k % 2,
            _ => throw new InvalidOperationException(),
        };

    private static Tensor Oracle(Tensor query, Tensor key, Tensor value, Func<int, int, int, bool> allowed)
    {
        int heads = (int)query.size(1),
            length = (int)query.size(2);
        var repeat = query.size(1) / key.size(1);
        var keys = key.repeat_interleave(repeat, 1);
        var values = value.repeat_interleave(repeat, 1);
        var mask = new float[heads * length * length];
        for (var h = 0; h < heads; h++)
        {
            for (var q = 0; q < length; q++)
            {
                for (var k = 0; k < length; k++)
                    mask[(h * length + q) * length + k] = allowed(h, q, k) ? 0 : float.NegativeInfinity;
            }
        }
        var scores =
            query.matmul(keys.transpose(2, 3)) / Math.Sqrt(query.size(3)) + tensor(mask, [1, heads, length, length]).to(query.dtype);
        return scores.softmax(-1).matmul(values);
    }

    internal static IAttention Create(string kind, int group) =>
        kind switch
        {
            "full" => new FullAttention(),
            "grouped" => new GroupedAttention(group),
            "dilated" => new DilatedAttention(group),
            _ => new ShiftedSparseAttention(group),
        };

    private static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator);
    }

    // Lengths that groups divide and that they do not, more rows than one, key-value heads shared evenly and across the cut at H/2.
    public static TheoryData<string, int, int, int, int, int> Shapes()
    {
        var data = new TheoryData<string, int, int, int, int, int>();
        foreach (var kind in new[] { "full", "grouped", "dilated", "shifted-sparse" })
        {
            foreach (
                var (batch, heads, shared, length, group) in new[]
                {
                    (1, 4, 4, 32, 8),
                    (2, 4, 2, 32, 8),
                    (2, 4, 4, 37, 8),
                    (1, 4, 1, 29, 8),
                    (2, 6, 3, 40, 16),
                    (1, 6, 2, 16, 16),
                    (1, 5, 5, 24, 8),
                    (1, 1, 1, 20, 4),
                    (3, 2, 2, 7, 16),
                    (1, 4, 2, 1, 4),
                }
            )
                data.Add(kind, batch, heads, shared, length, group);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Attend_any_shape_equals_dense_mask_with_gradients(string kind, int batch, int heads, int shared, int length, int group)
    {
        using var scope = NewDisposeScope();
        var attention = Create(kind, group);
        Tensor[] inputs = [Random(1, batch, heads, length, 16), Random(2, batch, shared, length, 16), Random(3, batch, shared, length, 16)];
        var gradient = Random(4, batch, heads, length, 16);

        Tensor[] Run(Func<Tensor, Tensor, Tensor, Tensor> attend)
        {
            var leaves = inputs.Select(x => x.clone().requires_grad_(true)).ToArray();
            var output = attend(leaves[0], leaves[1], leaves[2]);
            output.backward([gradient]);
            return [output, .. leaves.Select(l => l.grad!)];
        }

        var ours = Run((q, k, v) => attention.Attend(q, k, v));
        var oracle = Run((q, k, v) => Oracle(q, k, v, (h, i, j) => Allowed(attention, group, heads, length, h, i, j)));
        for (var i = 0; i < ours.Length; i++)
            Near.AssertEqual(oracle[i], ours[i], 5e-6);
    }

    [Theory]
    [InlineData("full")]
    [InlineData("grouped")]
    [InlineData("dilated")]
    [InlineData("shifted-sparse")]
    public void Attend_documents_equal_each_document_alone(string kind)
    {
        using var scope = NewDisposeScope();
        var attention = Create(kind, 8);
        Tensor q = Random(1, 2, 4, 40, 8),
            k = Random(2, 2, 2, 40, 8),
            v = Random(3, 2, 2, 40, 8);
        IReadOnlyList<IReadOnlyList<int>> documentLengths =
        [
            [13, 27],
            [3, 0, 30, 7],
        ];
        var together = attention.Attend(q, k, v, documentLengths);
        for (var row = 0; row < 2; row++)
        {
            var start = 0;
            foreach (var length in documentLengths[row].Where(l => l > 0))
            {
                Tensor Cut(Tensor x) => x.narrow(0, row, 1).narrow(2, start, length);
                Near.AssertEqual(attention.Attend(Cut(q), Cut(k), Cut(v)), Cut(together), 2e-6);
                start += length;
            }
        }
    }

    [Theory]
    [InlineData("full")]
    [InlineData("grouped")]
    [InlineData("dilated")]
    [InlineData("shifted-sparse")]
    public void Attend_changing_a_token_changes_no_earlier_output(string kind)
    {
        using var scope = NewDisposeScope();
        var attention = Create(kind, 8);
        Tensor q = Random(1, 1, 4, 37, 8),
            k = Random(2, 1, 2, 37, 8),
            v = Random(3, 1, 2, 37, 8);
        var before = attention.Attend(q, k, v);
        for (var t = 0; t < 37; t += 6)
        {
            Tensor Changed(Tensor x)
            {
                var copy = x.clone();
                copy.narrow(2, t, 1).add_(1);
                return copy;
            }
            var after = attention.Attend(Changed(q), Changed(k), Changed(v));
            Assert.Equal(0f, t == 0 ? 0f : (after - before).narrow(2, 0, t).abs().max().item<float>());
            Assert.NotEqual(0f, (after - before).narrow(2, t, 1).abs().max().item<float>());
        }
    }

    [Fact]
    public void Attend_shifted_sparse_with_one_group_equals_full_to_the_bit()
    {
        using var scope = NewDisposeScope();
        Tensor q = Random(1, 2, 4, 24, 8),
            k = Random(2, 2, 2, 24, 8),
            v = Random(3, 2, 2, 24, 8);
        Assert.True(new ShiftedSparseAttention(24).Attend(q, k, v).equal(new FullAttention().Attend(q, k, v)).all().item<bool>());
    }

    [Fact]
    public void Pattern_shifted_sparse_covers_every_token_once_and_costs_a_quarter()
    {
        var pattern = new ShiftedSparseAttention(1024).MakePattern(4096);
        Assert.Equal([new TokenGroups(0, 1024, 4)], pattern.Lower);
        Assert.Equal([new TokenGroups(0, 512, 1), new TokenGroups(512, 1024, 3), new TokenGroups(3584, 512, 1)], pattern.Upper);
        Assert.InRange(pattern.PairsPerHead / new FullAttention().MakePattern(4096).PairsPerHead, 0.2, 0.25);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(-4)]
    public void ShiftedSparseAttention_odd_or_empty_group_is_refused(int group) =>
        Assert.Contains(
            group.ToString(System.Globalization.CultureInfo.InvariantCulture),
            Assert.Throws<ConfigurationException>(() => new ShiftedSparseAttention(group)).Message,
            StringComparison.Ordinal
        );

    [Fact]
    public void Attend_heads_that_do_not_divide_are_refused_with_their_shapes()
    {
        using var scope = NewDisposeScope();
        var error = Assert.Throws<ShapeException>(() =>
            new FullAttention().Attend(zeros(1, 4, 8, 2), zeros(1, 3, 8, 2), zeros(1, 3, 8, 2))
        );
        Assert.Contains("[1, 4, 8, 2]", error.Message, StringComparison.Ordinal);
    }
}
