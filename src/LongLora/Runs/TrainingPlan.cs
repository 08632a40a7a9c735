using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Options;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runs;

/// <summary>The cost of a run before it starts: memory by part, operations, and the longest context that fits.</summary>
/// <param name="Config">The architecture.</param>
/// <param name="Memory">Bytes at the run's peak.</param>
/// <param name="Available">Bytes that the device has; null if unknown.</param>
/// <param name="LargestContext">
/// The longest context, a multiple of 1024, with which the same run fits into the device and its host; 0 for none, null if
/// <paramref name="Available"/> is.
/// </param>
/// <param name="Offload">Where activations are kept, with auto resolved.</param>
/// <param name="Step">Operations of one forward and backward pass with the run's attention.</param>
/// <param name="FullStep">The same with full attention.</param>
public sealed record TrainingPlan(
    ModelConfig Config,
    StepMemory Memory,
    long? Available,
    int? LargestContext,
    ActivationOffload Offload,
    StepFlops Step,
    StepFlops FullStep
)
{
    private const double Comfortable = ActivationPlan.Comfortable;

    private const int ContextStep = 1024,
        LongestContext = 1 << 24;

    // Pages of mapped files can be dropped and read again, so only the rest must fit.
    private long Needed => Memory.Peak - (IsMapped ? Memory.Weights : 0);

    private bool IsMapped { get; init; }

    /// <summary>The most bytes for kept activations, with auto resolved.</summary>
    internal long ActivationMemory { get; init; }

    /// <summary>How each text is divided among ranks, and what these send each other; null if one rank has it all.</summary>
    internal TextDivision? Division { get; init; }

    /// <summary>
    /// Bytes of the matrices that the ranks gather in a pass over a text, a rank's own part included; 0 if each rank has all of them.
    /// </summary>
    internal long GatheredBytes { get; init; }

    /// <summary>Whether the run computes on CUDA.</summary>
    public bool OnCuda { get; init; }

    /// <summary>The type of activations and of the operands of products: bf16 or fp32.</summary>
    public ScalarType ComputeType { get; init; } = ScalarType.Float32;

    /// <summary>
    /// Bytes of host memory for the activations that a CUDA run keeps there; null if the run keeps none there, or if unknown.
    /// </summary>
    public long? HostAvailable { get; init; }

    /// <summary>Whether the run fits into the device and its host; memory that is unknown counts as enough.</summary>
    public bool Fits => FitsDevice && FitsHost;

    internal bool FitsDevice => Available is not { } available || Needed <= available;

    internal bool FitsHost => HostAvailable is not { } host || Memory.Offloaded <= host;

    /// <summary>Plans a run. Only headers are read.</summary>
    /// <param name="model">
    /// A folder, the name of a published model (<see cref="PublishedConfigs"/>), or the config of a new one; and the context.
    /// </param>
    /// <param name="method">Attention, and what is trained.</param>
    /// <param name="machine">Device, number formats and memory settings.</param>
    /// <param name="optimizer">The size of a batch, and how gradients are added. Default: one text at a time, as the method adds.</param>
    /// <param name="available">Bytes that the device has; null to ask the machine.</param>
    /// <param name="hostAvailable">
    /// Bytes that the host of a CUDA device has for activations that are kept there; null to ask the machine.
    /// </param>
    /// <param name="ranks">Processes of the job, for what <see cref="MachineOptions.Shard"/> divides among them. Default 1.</param>
    /// <exception cref="LongLoraException">The model cannot be found, or an option does not work with it.</exception>
    public static TrainingPlan Make(
        ModelOptions model,
        MethodOptions method,
        MachineOptions machine,
        OptimizerOptions? optimizer = null,
        long? available = null,
        long? hostAvailable = null,
        int ranks = 1
    )
    {
        LibTorch.EnsureLoaded();
        TrainingPlan Plan(ModelConfig config, ScalarType stored) =>
            Make(
                config,
                model.Context,
                method,
                machine,
                DescribeStep(method, machine, optimizer, stored, ranks),
                available,
                hostAvailable,
                localRanks: 1
            );
        if (!Directory.Exists(model.Path) && PublishedConfigs.Has(model.Path))
            return Plan(PublishedConfigs.Find(model.Path), ScalarType.BFloat16);
        if (model.FromScratch is { } file)
            return Plan(
                ModelConfigReader.Parse(ModelConfigReader.ReadText(file), file) with
                {
                    MaxPositions = model.Context,
                },
                ScalarType.Float32
            );
        return Make(
            ModelSource.Open(model.Path).RequireFiles(),
            model.Context,
            method,
            machine,
            optimizer,
            available,
            hostAvailable,
            ranks
        );
    }

    /// <summary>Plans a run on an opened model.</summary>
    internal static TrainingPlan Make(
        IModelFiles files,
        int context,
        MethodOptions method,
        MachineOptions machine,
        OptimizerOptions? optimizer,
        long? available = null,
        long? hostAvailable = null,
        int ranks = 1,
        int localRanks = 1
    )
    {
        var stored = files
            .Tensors.Keys.Select(name => QuantizedProjection.FindStoredKind(files, name))
            .FirstOrDefault(kind => kind != QuantizationKind.None);
        var step = DescribeStep(method, machine, optimizer, files.FindMainType(), ranks);
        return Make(
            files.Config,
            context,
            method,
            machine,
            stored != QuantizationKind.None ? step with { Quantization = stored }
                : files is GgufModel gguf ? step with { KeptBytes = gguf.KeptBytes, IsWidened = gguf.StoredBytes < gguf.OpenedBytes }
                : step,
            available,
            hostAvailable,
            localRanks
        );
    }

    /// <summary>Checks that the run fits on this machine.</summary>
    /// <exception cref="ConfigurationException">It does not fit; the message says what would help.</exception>
    public void RequireFit() => RequireFit(1);

    /// <summary>Checks that the ranks of this machine fit on it together. On CUDA each has a device of its own.</summary>
    internal void RequireFit(int localRanks)
    {
        if (localRanks > 1 && !OnCuda && Available is { } all && Needed * localRanks > all && Needed <= all)
            throw new ConfigurationException(
                $"The {localRanks} ranks on this machine need about {FormatSize(Needed)} each at their peak, but it has {FormatSize(all)}. "
                    + $"Start fewer ranks on it. {Remedies} {Anyway}"
            );
        if (FitsDevice)
        {
            var scratch = Path.GetTempPath();
            if (Offload == ActivationOffload.Disk)
                RequireRoom($"the temporary folder '{scratch}'", FindFreeSpace(scratch));
            else if (HostAvailable is { } host)
                RequireRoom("the host's memory", host);
            return;
        }
        var largest = Memory.Parts.OrderByDescending(p => p.Bytes).Take(3).Select(p => $"{p.Name} {FormatSize(p.Bytes)}");
        throw new ConfigurationException(
            $"This run needs about {FormatSize(Needed)} at its peak (mostly {string.Join(", ", largest)}), but the device has "
                + $"{FormatSize(Available!.Value)}. {WriteAdvice()} {Anyway}"
        );
    }

    // A missing folder is reported when it is written to.
    private static long FindFreeSpace(string folder)
    {
        try
        {
            return new DriveInfo(OperatingSystem.IsWindows() ? Path.GetPathRoot(folder)! : folder).AvailableFreeSpace;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return long.MaxValue;
        }
    }

    /// <summary>Checks that offloaded data fits.</summary>
    /// <param name="place">Where it is kept.</param>
    /// <param name="free">Free bytes there.</param>
    internal void RequireRoom(string place, long free)
    {
        if (Memory.Offloaded <= free)
            return;
        throw new ConfigurationException(
            Offload == ActivationOffload.Disk
                ? $"Offloaded activations need {FormatSize(Memory.Offloaded)}, but {place} has {FormatSize(free)} free. Set TMPDIR to a "
                    + $"folder with more space, raise blocks-per-segment, or use a shorter context. {Anyway}"
                : $"Offloaded activations need {FormatSize(Memory.Offloaded)}, but {place} has {FormatSize(free)}. {WriteLargest()}Set "
                    + $"activation-offload to disk, raise blocks-per-segment, or use a shorter context. {Anyway}"
        );
    }

    /// <summary>A warning if the run barely fits or will be slow; else null.</summary>
    public string? Warning =>
        !Fits || Available is not { } available || Memory.Peak <= Comfortable * available ? null
        : Needed > Comfortable * available
            ? $"This run needs about {FormatSize(Needed)} of the device's {FormatSize(available)} at its peak, so it may run out of "
                + "memory. "
                + WriteAdvice()
        : $"This run needs about {FormatSize(Needed)} plus {FormatSize(Memory.Weights)} of weights, but the device has "
            + $"{FormatSize(available)}: weights that do not fit are read from the disk again in every pass, which may be very slow. "
            + $"{Remedies}";

    /// <summary>Formats a number of bytes for people.</summary>
    public static string FormatSize(long bytes) =>
        bytes >= 1L << 30 ? $"{bytes / (double)(1L << 30):N1} GiB" : $"{bytes / (double)(1L << 20):N0} MiB";

    private string WriteAdvice() => WriteLargest() + WriteKept() + Remedies;

    private string WriteKept() =>
        Memory.Kept > 0 ? $"Set activation-memory to 0 to save the {FormatSize(Memory.Kept)} of kept activations. " : "";

    private string WriteLargest() => LargestContext > 0 ? $"The longest context that fits is {LargestContext:N0} tokens. " : "";

    private const string Anyway = "To run anyway, set check-memory to false.";

    private const string Remedies =
        "To use less memory, set activation-offload to disk (host on CUDA), raise blocks-per-segment, set quantization to nf4, or "
        + "lower batch-size.";

    private static StepMemoryOptions DescribeStep(
        MethodOptions method,
        MachineOptions machine,
        OptimizerOptions? optimizer,
        ScalarType stored,
        int ranks
    )
    {
        var (device, index) = Devices.ParseName(machine.Device);
        return new()
        {
            Tuning = method.MakeAdapterOptions(),
            BatchSize = (optimizer ??= new()).BatchSize,
            BlocksPerSegment = machine.BlocksPerSegment,
            SequenceParallel = machine.SequenceParallel,
            OptimizerRanks = machine.Shard == Sharding.None ? 1 : ranks,
            ModelRanks = machine.Shard == Sharding.Model ? ranks : 1,
            Quantization = machine.Quantization,
            StoredType = stored,
            Cuda = device == DeviceType.CUDA,
            ComputeType = machine.ResolveCompute(device, index, stored).ToTensorType(),
            AddsExactly = optimizer.AddsExactly(method.Tuning),
        };
    }

    private static TrainingPlan Make(
        ModelConfig config,
        int context,
        MethodOptions method,
        MachineOptions machine,
        StepMemoryOptions memory,
        long? available,
        long? hostAvailable,
        int localRanks
    )
    {
        var (device, index) = Devices.ParseName(machine.Device);
        var cuda = memory.Cuda;
        var free = available ?? FreeMemory.Count(device, index);
        available ??= MemoryMeter.GetAvailableBytes(device, index);
        hostAvailable = cuda ? hostAvailable ?? MemoryMeter.GetAvailableBytes(DeviceType.CPU, 0) : null;
        using var model = ModelLoader.Describe(config);
        TextRanks.Check(model, method.MakeAttention(context), context, machine.SequenceParallel);
        (StepMemory Memory, ActivationOffload Offload, StepMemoryOptions Options) At(int length)
        {
            var attention = method.MakeAttention(length);
            StepMemory Count(ActivationOffload offload) => StepMemory.Count(model, attention, length, memory with { Offload = offload });
            var elsewhere = Count(cuda ? ActivationOffload.Host : ActivationOffload.Disk);
            // As the run finds it before its first step.
            var offload = ActivationStore.Resolve(
                machine.ActivationOffload,
                elsewhere.Offloaded,
                available - (elsewhere.Peak - elsewhere.Step),
                cuda
            );
            // On CUDA each rank has a device of its own.
            var kept = machine.ActivationMemory ?? ActivationPlan.ChooseBudget(free, available, Count(offload).Peak, cuda ? 1 : localRanks);
            var options = memory with { Offload = offload, ActivationMemory = kept };
            return (StepMemory.Count(model, attention, length, options), offload, options);
        }

        var (bytes, offload, step) = At(context);
        var needsWeights =
            cuda
            || memory.ModelRanks > 1
            || memory.Quantization != QuantizationKind.None
            || memory.IsWidened
            || StepMemory.IsHeldInBf16(memory);
        var largest = available is { } most
            ? FindLargest(length =>
            {
                var (m, place, _) = At(length);
                return m.Peak - (needsWeights ? 0 : m.Weights) <= most
                    && (place != ActivationOffload.Host || m.Offloaded <= (hostAvailable ?? long.MaxValue));
            })
            : (int?)null;
        var kept = StepMemory.PlanKept(model, method.MakeAttention(context), context, step);
        StepFlops Flops(IAttention attention) =>
            StepFlops.Count(config, attention, memory.Tuning, context, memory.BatchSize, memory.BlocksPerSegment, cuda, kept);
        return new(config, bytes, available, largest, offload, Flops(method.MakeAttention(context)), Flops(new FullAttention()))
        {
            IsMapped = !needsWeights,
            GatheredBytes = StepMemory.CountGathered(model, memory),
            OnCuda = cuda,
            ComputeType = memory.ComputeType,
            ActivationMemory = step.ActivationMemory,
            Division = machine.SequenceParallel == 1 ? null : TextDivision.Make(config, method.MakeAttention(context), context, memory),
            HostAvailable = offload == ActivationOffload.Host ? hostAvailable : null,
        };
    }

    // Memory grows with the context, so a binary search works.
    private static int FindLargest(Func<int, bool> fits)
    {
        int low = 0,
            high = LongestContext / ContextStep;
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (fits(middle * ContextStep))
                low = middle;
            else
                high = middle - 1;
        }
        return low * ContextStep;
    }
}
