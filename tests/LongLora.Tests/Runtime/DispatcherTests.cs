using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

public class DispatcherTests
{
    private static Tensor Heads(int seed, int heads)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn([1, heads, 20, 8], generator: generator);
    }

    [Fact]
    public void FlashAttentionCpu_and_its_backward_equal_autograd_of_repeated_heads()
    {
        using var scope = NewDisposeScope();
        Tensor q = Heads(1, 6),
            k = Heads(2, 3),
            v = Heads(3, 3),
            gradient = Heads(4, 6);
        var (output, logSumExp) = Dispatcher.FlashAttentionCpu(q, k, v, causal: true);
        var ours = Dispatcher.FlashAttentionCpuBackward(gradient, q, k, v, output, logSumExp, causal: true);

        Tensor[] leaves = [q.clone().requires_grad_(true), k.clone().requires_grad_(true), v.clone().requires_grad_(true)];
        var mask = full([20, 20], float.NegativeInfinity).triu(1);
        var scores = leaves[0].matmul(leaves[1].repeat_interleave(2, 1).transpose(2, 3)) / Math.Sqrt(8) + mask;
        var plain = scores.softmax(-1).matmul(leaves[2].repeat_interleave(2, 1));
        plain.backward([gradient]);
        Near.AssertEqual(plain, output, 2e-6);
        Near.AssertEqual(scores.logsumexp(-1), logSumExp, 2e-6);
        Near.AssertEqual(leaves[0].grad!, ours.Query, 5e-6);
        Near.AssertEqual(leaves[1].grad!, ours.Key, 5e-6);
        Near.AssertEqual(leaves[2].grad!, ours.Value, 5e-6);
    }

    [Fact]
    public void FusedAdamW_equals_the_formula()
    {
        using var scope = NewDisposeScope();
        double[] weights = [1, -2, 3],
            gradients = [0.1, -0.2, 0.3],
            m = [0.01, 0.02, 0.03],
            v = [0.1, 0.2, 0.3];
        Tensor Single(double[] values) => tensor(Array.ConvertAll(values, x => (float)x));
        Tensor w = Single(weights),
            first = Single(m),
            second = Single(v);
        Dispatcher.FusedAdamW(w, Single(gradients), first, second, tensor(3f), 0.01, 0.9, 0.95, 0.1, 1e-8);
        for (var i = 0; i < 3; i++)
        {
            m[i] = 0.9 * m[i] + 0.1 * gradients[i];
            v[i] = 0.95 * v[i] + 0.05 * gradients[i] * gradients[i];
            weights[i] *= 1 - 0.01 * 0.1;
            weights[i] -= 0.01 * (m[i] / (1 - Math.Pow(0.9, 3))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.95, 3))) + 1e-8);
        }
        Near.AssertEqual(Single(weights), w, 1e-6);
        Near.AssertEqual(Single(m), first, 1e-7);
        Near.AssertEqual(Single(v), second, 1e-7);
    }

    [Fact]
    public void Results_belong_to_the_scope_of_the_caller()
    {
        Tensor kept;
        using (NewDisposeScope())
        {
            kept = Dispatcher.FlashAttentionCpu(Heads(1, 2), Heads(2, 2), Heads(3, 2), causal: true).Output;
            Assert.False(kept.IsInvalid);
        }
        Assert.True(kept.IsInvalid, "a result outlives its scope");
    }

    [Fact]
    public void GetVersion_counts_changes_in_place_of_all_views()
    {
        using var scope = NewDisposeScope();
        var values = zeros(4, 5);
        var before = Dispatcher.GetVersion(values);
        Assert.Equal(before, Dispatcher.GetVersion(values));
        using (no_grad())
            values.narrow(0, 1, 2).detach().add_(1);
        Assert.Equal(before + 1, Dispatcher.GetVersion(values));
        _ = values + 1;
        Assert.Equal(before + 1, Dispatcher.GetVersion(values));
    }
}
