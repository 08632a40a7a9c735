using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Options;
using LongLora.Quantization;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Tests.Training;

public class StepMemoryTests
{
    private static StepMemory Count(string model, int length, StepMemoryOptions options, bool full = false) =>
        StepMemory.Count(
            PublishedConfigs.Find(model),
            full ? new FullAttention() : new ShiftedSparseAttention(length / 4),
            length,
            options
        );

    // By hand, from the published shapes: 6,738,415,616 weights, 202,383,360 + 32000 * 4096 of them outside the blocks' matrices.
    [Fact]
    public void Count_weights_and_trained_state_of_llama_2_7b()
    {
        var plain = Count("llama-2-7b", 8192, new());
        Assert.Equal(6_738_415_616 * 2, plain.Weights);
        const long lora = 32L * 4 * 8 * (4096 + 4096),
            embeddings = 32000L * 4096,
            norms = 65L * 4096;
        Assert.Equal(4 * (lora + embeddings + norms), plain.Trained);
        Assert.Equal(plain.Trained, plain.Gradients);
        Assert.Equal(2 * plain.Trained, plain.Optimizer);

        var quantized = Count("llama-2-7b", 8192, new() { Quantization = QuantizationKind.Nf4 });
        const long inBlocks = 32L * (4 * 4096 * 4096 + 3 * 4096 * 11008);
        Assert.Equal((long)(inBlocks * (0.5 + 1.0 / 64 + 1.0 / 4096)) + (6_738_415_616 - inBlocks) * 2, quantized.Weights);

        var everything = Count("llama-2-7b", 8192, new() { Tuning = new AdapterOptions { TrainEverything = true } });
        Assert.Equal(6_738_415_616 * 4, everything.Trained);
    }

    [Fact]
    public void Count_checkpoints_by_spans_and_place()
    {
        const long tokens = 16384,
            width = 4096;
        var each = Count("llama-2-7b", (int)tokens, new() { Cuda = true });
        Assert.Equal(32 * tokens * 2 * width * 2, each.Checkpoints);
        var spans = Count("llama-2-7b", (int)tokens, new() { Cuda = true, BlocksPerSegment = 4 });
        Assert.Equal(8 * tokens * width * 2 + 4 * tokens * 2 * width * 2, spans.Checkpoints);
        var elsewhere = Count("llama-2-7b", (int)tokens, new() { Cuda = true, Offload = ActivationOffload.Host });
        Assert.Equal(each.Checkpoints, elsewhere.Offloaded);
        Assert.Equal(each.Checkpoints / 32, elsewhere.Checkpoints);
        Assert.True(elsewhere.Peak < each.Peak);
    }

    [Fact]
    public void Count_grows_linearly_with_the_context()
    {
        long Peak(int length) => Count("llama-3.2-1b", length, new(), full: false).Peak;
        double first = Peak(131072) - Peak(65536),
            second = Peak(262144) - Peak(196608);
        Assert.Equal(1, first / second, 0.02);
    }

    private static TrainingPlan Plan(int context, long available, ActivationOffload offload = ActivationOffload.Auto) =>
        TrainingPlan.Make(
            new ModelOptions { Path = "llama-2-7b", Context = context },
            new MethodOptions(),
            new MachineOptions { Device = "cpu", ActivationOffload = offload },
            available: available
        );

    [Fact]
    public void Plan_largest_context_fits_and_the_next_does_not()
    {
        const long available = 48L << 30;
        var plan = Plan(8192, available, ActivationOffload.None);
        Assert.True(plan.Fits);
        plan.RequireFit();
        var largest = plan.LargestContext!.Value;
        Assert.InRange(largest, 8192, 200_000);
        Assert.True(Plan(largest, available, ActivationOffload.None).Fits);
        Assert.False(Plan(largest + 1024, available, ActivationOffload.None).Fits);
        Assert.True(Plan(8192, available, ActivationOffload.Disk).LargestContext > largest);
    }

    [Fact]
    public void Plan_that_does_not_fit_says_what_would()
    {
        var plan = Plan(1_000_000, 32L << 30, ActivationOffload.None);
        var told = Assert.Throws<ConfigurationException>(plan.RequireFit).Message;
        foreach (
            var part in new[]
            {
                "32.0 GiB",
                "activation checkpoints",
                $"{plan.LargestContext:N0} tokens",
                "activation-offload to disk",
                "check-memory to false",
            }
        )
            Assert.Contains(part, told);
    }

    [Fact]
    public void Plan_that_fits_narrowly_warns_of_what_will_happen()
    {
        static TrainingPlan With(long bytes) => Plan(32768, bytes, ActivationOffload.Disk);
        Assert.Null(With(64L << 30).Warning);
        var memory = With(64L << 30).Memory;
        Assert.Contains("may run out of memory", With((memory.Peak - memory.Weights) * 21 / 20).Warning);
    }

    [Fact]
    public void Plan_auto_leaves_memory_where_activations_would_take_half_of_it()
    {
        Assert.Equal(ActivationOffload.None, Plan(4096, 64L << 30).Offload);
        var longer = Plan(131072, 64L << 30);
        Assert.Equal(ActivationOffload.Disk, longer.Offload);
        Assert.True(longer.Memory.Offloaded > 32L << 30);
    }

    [Fact]
    public void Plan_whose_activations_find_no_room_on_disk_is_refused()
    {
        var plan = Plan(131072, 64L << 30);
        plan.RequireRoom("'/scratch'", plan.Memory.Offloaded);
        var told = Assert.Throws<ConfigurationException>(() => plan.RequireRoom("'/scratch'", 20L << 30)).Message;
        foreach (
            var part in new[]
            {
                TrainingPlan.FormatSize(plan.Memory.Offloaded),
                "'/scratch' has 20.0 GiB",
                "TMPDIR",
                "check-memory to false",
            }
        )
            Assert.Contains(part, told);
    }

    [Fact]
    public void Plan_whose_weights_find_no_room_says_so()
    {
        var plan = Plan(8192, 12L << 30);
        Assert.True(plan.Fits);
        Assert.Contains("12.6 GiB of weights", plan.Warning);
        Assert.Contains("read from the disk again", plan.Warning);
    }
}
