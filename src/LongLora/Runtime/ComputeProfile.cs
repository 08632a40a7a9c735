using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// What decides in which order sums are rounded: the processor's vector instructions and the number of threads, or the GPU. Two machines
/// with the same profile compute the same bytes, by experience; with different ones the last digits differ.
/// </summary>
internal static class ComputeProfile
{
    // libtorch's own variable, which makes it use older instructions than the processor has.
    internal const string LevelVariable = "ATEN_CPU_CAPABILITY";

    /// <summary>The profile in words, such as <c>x64 AVX-512, 8 threads</c>, or <c>x64 AVX-512, 8 threads, bf16</c>.</summary>
    /// <param name="device">A device's name.</param>
    /// <param name="precision">The number format of products.</param>
    public static string Describe(string device, ComputePrecision precision)
    {
        var threads = MessageText.Count(get_num_threads(), "thread");
        var processor = string.Create(
            CultureInfo.InvariantCulture,
            $"{RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant()} {FindLevel()}, {threads}"
        );
        var (type, index) = Devices.ParseName(device);
        return type == TorchSharp.DeviceType.CUDA ? $"{CudaDriver.GetName(index) ?? "CUDA"}, {processor}{NameOnCuda(precision)}"
            : precision != ComputePrecision.Bf16 ? processor
            : Processor.MultipliesBf16 ? processor + ", bf16"
            : processor + ", bf16 without instructions for it";
    }

    // Checkpoints of earlier versions do not say it for bf16, the default.
    private static string NameOnCuda(ComputePrecision precision) =>
        precision == ComputePrecision.Bf16 ? "" : ", " + precision.ToString().ToLowerInvariant();

    private static string Wide => Processor.IsFasterThanMkl ? "AVX-512 (own products)" : "AVX-512";

    private static string FindLevel() =>
        Environment.GetEnvironmentVariable(LevelVariable) switch
        {
            "default" => "baseline",
            "avx2" => "AVX2",
            "avx512" => Wide,
            _ => Avx512BW.VL.IsSupported && Avx512DQ.VL.IsSupported ? Wide
            : Avx2.IsSupported && Fma.IsSupported ? "AVX2"
            : "baseline",
        };
}
