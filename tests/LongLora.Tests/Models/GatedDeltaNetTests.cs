using LongLora.Models;
using LongLora.Positions;
using static TorchSharp.torch;

namespace LongLora.Tests.Models;

/// <summary>The gated delta net in chunks against its rule token by token, and its state in a cache.</summary>
public class GatedDeltaNetTests
{
    private static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(150)]
    public void Update_in_chunks_equals_the_rule_token_by_token_with_gradients(int length)
    {
        using var scope = NewDisposeScope();
        Tensor Unit(Tensor heads) => heads / heads.norm(-1, true, 2f);
        Tensor[] inputs =
        [
            Unit(Random(1, 2, 3, length, 8)),
            Unit(Random(2, 2, 3, length, 8)),
            Random(3, 2, 3, length, 5),
            -Random(4, 2, 3, length).abs(),
            Random(5, 2, 3, length).sigmoid(),
            Random(6, 2, 3, 8, 5),
        ];
        var gradients = (Random(7, 2, 3, length, 5), Random(8, 2, 3, 8, 5));
        Tensor[] Run(Func<Tensor[], (Tensor, Tensor)> update)
        {
            Tensor[] leaves = [.. inputs.Select(x => x.clone().requires_grad_(true))];
            var (output, memory) = update(leaves);
            autograd.backward([output, memory], [gradients.Item1, gradients.Item2]);
            return [output, memory, .. leaves.Select(l => l.grad!)];
        }
        static (Tensor, Tensor) ByToken(Tensor[] x)
        {
            var (memory, outputs) = (x[5], new List<Tensor>());
            for (var t = 0; t < x[0].size(2); t++)
            {
                Tensor Of(Tensor all) => all.select(2, t);
                memory = memory * Of(x[3]).exp().unsqueeze(-1).unsqueeze(-1);
                var seen = (memory * Of(x[1]).unsqueeze(-1)).sum(-2);
                var update = (Of(x[2]) - seen) * Of(x[4]).unsqueeze(-1);
                memory = memory + Of(x[1]).unsqueeze(-1) * update.unsqueeze(-2);
                outputs.Add((memory * Of(x[0]).unsqueeze(-1)).sum(-2));
            }
            return (stack(outputs, 2), memory);
        }
        var expected = Run(ByToken);
        var actual = Run(x => GatedDeltaNet.Update(x[0], x[1], x[2], x[3], x[4], x[5]));
        for (var i = 0; i < expected.Length; i++)
            Near.AssertRelative(expected[i], actual[i], 2e-5, $"result {i}");
    }

    [Fact]
    public void Truncate_goes_back_to_the_mark_or_to_the_beginning()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var checkpoint = LongLora.Checkpoints.CheckpointDirectory.Open(FamilyContractTests.Locate(folder, "qwen3_5"));
        using var model = ModelLoader.Load(checkpoint.Config, checkpoint);
        using var positions = RotaryEmbedding.Create(model.Config, 40);
        using var cache = new KeyValueCache(model, 40);
        long[] prompt = [5, 9, 2, 7, 11, 3, 8],
            answer = [4, 6, 1];
        Tensor Read(long[] ids) => CachedPass.Read(model, ids, cache, 0, positions);
        Read(prompt);
        cache.Mark(0);
        var first = Read(answer);
        Assert.Equal(10, cache.Truncate(0, 10));
        Assert.Equal(7, cache.Truncate(0, 7));
        Near.AssertEqual(first, Read(answer), 0);
        // A larger cache has the states too.
        using var grown = cache.Grow(60);
        Assert.Equal(7, grown.Truncate(0, 7));
        using var longer = RotaryEmbedding.Create(model.Config, 60);
        Near.AssertEqual(first, CachedPass.Read(model, answer, grown, 0, longer), 0);
        // Between, nothing is known.
        Assert.Equal(0, cache.Truncate(0, 8));
        Read(prompt);
        Near.AssertEqual(first, Read(answer), 0);
    }
}
