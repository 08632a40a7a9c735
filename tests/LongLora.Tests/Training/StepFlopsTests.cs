using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Tests.Models;
using LongLora.Training;

namespace LongLora.Tests.Training;

/// <summary>The counts against matrix shapes written down by hand and pairs counted one by one.</summary>
public class StepFlopsTests
{
    private const int Length = 50, Batch = 3, Group = 16;

    // D 64, F 176, 4 heads of 16, 2 key-value heads, 2 layers, V 128.
    private static readonly (int Inputs, int Outputs, bool Adapted)[] s_block =
        [(64, 64, true), (64, 32, true), (64, 32, true), (64, 64, true), (64, 176, false), (64, 176, false), (176, 64, false)];

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
        double forward = 0, activations = 0, weights = 0;
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
        Assert.Equal(2 * block - down + 3 * scores, StepFlops.Count(Config(false), attention, tuning, Length, Batch, blocksPerSegment: 2).Recomputed);
    }
}
