using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Tests.Models;
using LongLora.Training;

namespace LongLora.Tests.Training;

/// <summary>The counts against matrix shapes written down by hand and pairs counted one by one.</summary>
public class StepFlopsTests
{
    private const int Length = 50,
        Batch = 3,
        Group = 16;

    // D 64, F 176, 4 heads of 16, 2 key-value heads, 2 layers, V 128.
    private static readonly (int Inputs, int Outputs, bool Adapted)[] s_block =
    [
        (64, 64, true),
        (64, 32, true),
        (64, 32, true),
        (64, 64, true),
        (64, 176, false),
        (64, 176, false),
        (176, 64, false),
    ];

    private static ModelConfig Config(bool tied) => LlamaGoldenTests.TinyConfig with { TiedEmbeddings = tied };

    private static double Product(double rows, double inner, double columns) => 2 * rows * inner * columns;

    // S²-Attn told one query and key at a time: same group of the own half of the heads, not later than the query.
    private static double Pairs(bool sparse)
    {
        double pairs = 0;
        for (var head = 0; head < 4; head++)
        {
            for (var query = 0; query < Length; query++)
            {
                for (var key = 0; key <= query; key++)
                {
                    var shift = head < 2 ? 0 : Group / 2;
                    if (!sparse || (query + shift) / Group == (key + shift) / Group)
                        pairs++;
                }
            }
        }
        return pairs;
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void Count_of_lora_plus_equals_sum_over_shapes(bool sparse, bool tied)
    {
        IAttention attention = sparse ? new ShiftedSparseAttention(Group) : new FullAttention();
        var flops = StepFlops.Count(Config(tied), attention, new AdapterOptions { Rank = 8 }, Length, Batch);
        double forward = 0,
            activations = 0,
            weights = 0;
        const double rows = Length * Batch;
        for (var layer = 0; layer < 2; layer++)
        {
            foreach (var (inputs, outputs, adapted) in s_block)
            {
                forward += Product(rows, inputs, outputs); // x Wᵀ
                activations += Product(rows, outputs, inputs); // g W
                if (!adapted)
                    continue;
                forward += Product(rows, inputs, 8) + Product(rows, 8, outputs); // x Aᵀ, then Bᵀ
                activations += Product(rows, outputs, 8) + Product(rows, 8, inputs); // g B, then A
                weights += Product(outputs, rows, 8) + Product(8, rows, inputs); // gᵀ (x Aᵀ) and (g B)ᵀ x
            }
            forward += Batch * Pairs(sparse) * 2 * (16 + 16); // q kᵀ and p v
            activations += Batch * Pairs(sparse) * 2 * (16 + 16 + 16 + 16); // pᵀ do, do vᵀ, ds k, dsᵀ q
        }
        forward += Product(rows, 64, 128);
        activations += Product(rows, 128, 64);
        weights += tied ? Product(128, rows, 64) : 0;

        Assert.Equal(forward, flops.Forward);
        Assert.Equal(activations, flops.ActivationGradients);
        Assert.Equal(weights, flops.WeightGradients);
        Assert.Equal(forward + activations + weights, flops.Needed);
    }

    [Fact]
    public void Count_of_full_tuning_has_a_weight_gradient_for_each_product()
    {
        var flops = StepFlops.Count(Config(false), new FullAttention(), new AdapterOptions { TrainEverything = true }, Length, Batch);
        var products = 2 * s_block.Sum(b => Product(Length * Batch, b.Inputs, b.Outputs)) + Product(Length * Batch, 64, 128);
        Assert.Equal(products, flops.WeightGradients);
        Assert.Equal(products + 2 * Batch * Pairs(false) * 64, flops.Forward);
    }

    [Fact]
    public void Count_of_recomputed_is_what_the_passes_run_twice()
    {
        var attention = new ShiftedSparseAttention(Group);
        var tuning = new AdapterOptions { Rank = 0 };
        var block = 2 * s_block.Sum(b => Product(Length * Batch, b.Inputs, b.Outputs));
        var down = 2 * Product(Length * Batch, 176, 64);
        var scores = 2 * Batch * Pairs(true) * 2 * 16;
        Assert.Equal(block - down + scores, StepFlops.Count(Config(false), attention, tuning, Length, Batch).Recomputed);
        Assert.Equal(
            2 * block - down + 3 * scores,
            StepFlops.Count(Config(false), attention, tuning, Length, Batch, blocksPerSegment: 2).Recomputed
        );
    }

    // The families differ in names, and in what is fused, turned or normalised: the products are the same.
    [Theory]
    [InlineData("mistral")]
    [InlineData("qwen2")]
    [InlineData("phi3")]
    [InlineData("qwen3")]
    public void Count_of_a_relative_is_that_of_llama(string type)
    {
        var tuning = new AdapterOptions { TrainEverything = true };
        var attention = new ShiftedSparseAttention(Group);
        var expected = StepFlops.Count(Config(false), attention, tuning, Length, Batch);
        // Behind the norms over heads, q and k are projected once more.
        var again = type == "qwen3" ? 2 * (Product(Length * Batch, 64, 64) + Product(Length * Batch, 64, 32)) : 0;
        Assert.Equal(
            expected with
            {
                Recomputed = expected.Recomputed + again,
            },
            StepFlops.Count(Config(false) with { ModelType = type }, attention, tuning, Length, Batch)
        );
    }

    [Fact]
    public void Count_with_a_window_in_one_layer_leaves_out_what_it_hides()
    {
        var tuning = new AdapterOptions { TrainEverything = true };
        double Forward(int? window) =>
            StepFlops
                .Count(Config(false) with { SlidingWindow = window, FirstWindowedLayer = 1 }, new FullAttention(), tuning, Length, Batch)
                .Forward;
        // pairs further back than 10 tokens, in 4 heads
        double hidden = Enumerable.Range(0, Length).Sum(query => Math.Max(0, query + 1 - 10)) * 4;
        Assert.Equal(Batch * hidden * 2 * (16 + 16), Forward(null) - Forward(10));
    }

    [Fact]
    public void Count_of_gpt_neox_equals_sum_over_shapes()
    {
        var config = Config(false) with { ModelType = "gpt_neox", KeyValueHeadCount = 4, Activation = "gelu", ParallelResidual = true };
        var flops = StepFlops.Count(config, new FullAttention(), new AdapterOptions { Rank = 0, TargetModules = [] }, Length, Batch);
        (int, int)[] block = [(64, 192), (64, 64), (64, 176), (176, 64)];
        var products = 2 * block.Sum(b => Product(Length * Batch, b.Item1, b.Item2)) + Product(Length * Batch, 64, 128);
        var scores = 2 * Batch * Pairs(false) * 2 * 16;
        Assert.Equal(products + 2 * scores, flops.Forward);
        // Both branches read the block's input: neither output projection is run again.
        Assert.Equal(2 * (Product(Length * Batch, 64, 192) + Product(Length * Batch, 64, 176)) + scores, flops.Recomputed);
    }
}
