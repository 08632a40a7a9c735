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
        var each = Count("llama-2-7b", (int)tokens, new() { Cuda = true, ComputeType = TorchSharp.torch.ScalarType.BFloat16 });
        Assert.Equal(32 * tokens * 2 * width * 2, each.Checkpoints);
        var spans = Count(
            "llama-2-7b",
            (int)tokens,
            new()
            {
                Cuda = true,
                ComputeType = TorchSharp.torch.ScalarType.BFloat16,
                BlocksPerSegment = 4,
            }
        );
        Assert.Equal(8 * tokens * width * 2 + 4 * tokens * 2 * width * 2, spans.Checkpoints);
        var elsewhere = Count(
            "llama-2-7b",
            (int)tokens,
            new()
            {
                Cuda = true,
                ComputeType = TorchSharp.torch.ScalarType.BFloat16,
                Offload = ActivationOffload.Host,
            }
        );
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

    private static TrainingPlan Plan(int context, long available, ActivationOffload offload = ActivationOffload.Auto, long? kept = 0) =>
        TrainingPlan.Make(
            new ModelOptions { Path = "llama-2-7b", Context = context },
            new MethodOptions(),
            new MachineOptions
            {
                Device = "cpu",
                ActivationOffload = offload,
                ActivationMemory = kept,
            },
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
    public void Plan_auto_keeps_activations_in_half_of_what_is_left_and_shortens_no_context()
    {
        const long available = 64L << 30;
        var (none, some) = (Plan(8192, available), Plan(8192, available, kept: null));
        Assert.Equal(0, none.Memory.Kept);
        Assert.Equal((available - none.Memory.Peak) / 2, some.ActivationMemory);
        Assert.InRange(some.Memory.Kept, some.ActivationMemory * 9 / 10, some.ActivationMemory);
        Assert.Equal(none.Memory.Peak + some.Memory.Kept, some.Memory.Peak);
        Assert.Contains(("kept activations", some.Memory.Kept), some.Memory.Parts);
        Assert.True(some.Step.Recomputed < none.Step.Recomputed);
        Assert.Equal(none.Step.Needed, some.Step.Needed);
        Assert.Equal(none.LargestContext, some.LargestContext);
        some.RequireFit();
        // Where all of it is needed, nothing is kept.
        var full = Plan(none.LargestContext!.Value, available, kept: null);
        Assert.Equal(0, full.Memory.Kept);
        Assert.True(full.Fits);
        Assert.Null(Plan(8192, available, kept: null).Warning);
    }

    [Fact]
    public void Plan_whose_kept_activations_do_not_fit_says_so()
    {
        var plan = Plan(8192, 32L << 30, kept: 60L << 30);
        Assert.False(plan.Fits);
        var told = Assert.Throws<ConfigurationException>(plan.RequireFit).Message;
        Assert.Contains($"Set activation-memory to 0 to save the {TrainingPlan.FormatSize(plan.Memory.Kept)} of kept activations", told);
        Assert.True(plan.LargestContext < Plan(8192, 32L << 30).LargestContext);
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

    private static TrainingPlan PlanOnCuda(int context, long host, ActivationOffload offload, long available = 1L << 40) =>
        TrainingPlan.Make(
            new ModelOptions { Path = "llama-2-7b", Context = context },
            new MethodOptions(),
            new MachineOptions
            {
                Device = "cuda",
                ActivationOffload = offload,
                ActivationMemory = 0,
            },
            available: available,
            hostAvailable: host
        );

    // 32 blocks keep two rows of 4096 numbers in bf16 for each token: 512 KiB.
    [Theory]
    [InlineData(64, 131072)]
    [InlineData(16, 32768)]
    [InlineData(880, 1802240)]
    public void Plan_counts_the_hosts_memory(int gibibytes, int tokens)
    {
        var host = (long)gibibytes << 30;
        var plan = PlanOnCuda(tokens, host, ActivationOffload.Host, available: 1L << 42);
        Assert.Equal((host, (long?)host), (plan.Memory.Offloaded, plan.HostAvailable));
        Assert.True(plan.Fits);
        plan.RequireFit();
        Assert.Equal(tokens, plan.LargestContext);

        var longer = PlanOnCuda(tokens + 1024, host, ActivationOffload.Host, available: 1L << 42);
        Assert.False(longer.Fits);
        Assert.True(longer.FitsDevice);
        Assert.Equal(tokens, longer.LargestContext);
        var told = Assert.Throws<ConfigurationException>(longer.RequireFit).Message;
        foreach (
            var part in new[]
            {
                $"but the host's memory has {TrainingPlan.FormatSize(host)}.",
                $"The longest context that fits is {tokens:N0} tokens.",
                "activation-offload to disk",
            }
        )
            Assert.Contains(part, told);
    }

    [Fact]
    public void Plan_says_which_memory_is_short()
    {
        // The device can hold 32k tokens, and its host only 1k of them.
        var host = PlanOnCuda(32768, 1L << 29, ActivationOffload.Host, 80L << 30);
        Assert.Equal((true, false, 1024), (host.FitsDevice, host.FitsHost, host.LargestContext!.Value));
        Assert.Contains("the host's memory has 512 MiB", Assert.Throws<ConfigurationException>(host.RequireFit).Message);
        var device = PlanOnCuda(32768, 1L << 40, ActivationOffload.Host, 12L << 30);
        Assert.Equal((false, true), (device.FitsDevice, device.FitsHost));
        Assert.Contains("the device has 12.0 GiB", Assert.Throws<ConfigurationException>(device.RequireFit).Message);
    }

    [Fact]
    public void Plan_without_activations_on_the_host_does_not_count_it()
    {
        foreach (var offload in new[] { ActivationOffload.Disk, ActivationOffload.None })
        {
            var plan = PlanOnCuda(16384, 1, offload);
            Assert.True(plan.Fits);
            Assert.Null(plan.HostAvailable);
            Assert.Equal(PlanOnCuda(16384, 1L << 50, offload).LargestContext, plan.LargestContext);
        }
        // auto keeps 16 of 80 GiB on the device, and sends what would take half of it to the host.
        Assert.Null(PlanOnCuda(32768, 1, ActivationOffload.Auto, 80L << 30).HostAvailable);
        var longer = PlanOnCuda(98304, 32L << 30, ActivationOffload.Auto, 80L << 30);
        Assert.Equal((ActivationOffload.Host, 32L << 30), (longer.Offload, longer.HostAvailable!.Value));
        Assert.False(longer.Fits);
        Assert.True(longer.LargestContext < 98304);
        // The memory of the CPU is its own.
        Assert.Null(Plan(131072, 64L << 30).HostAvailable);
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
