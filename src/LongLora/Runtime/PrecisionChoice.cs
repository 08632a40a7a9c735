using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Decides the number format of a model's products.</summary>
internal static class PrecisionChoice
{
    // The fused attention of older GPUs does not accept bf16. Without it the scores are a matrix [L, L].
    private const int LeastCapability = 8;

    /// <summary>The format that is used: bf16, tf32 or fp32.</summary>
    /// <param name="asked">The option's value.</param>
    /// <param name="device">CPU or CUDA.</param>
    /// <param name="index">Number of the CUDA device, which need not exist.</param>
    /// <param name="stored">The type in which the model's matrices are stored.</param>
    /// <exception cref="ConfigurationException">The device does not have the format.</exception>
    public static ComputePrecision Resolve(ComputePrecision asked, DeviceType device, int index, ScalarType stored) =>
        device == DeviceType.CUDA
            ? ResolveOnCuda(asked, CudaDriver.GetCapability(index), index)
            : ResolveOnCpu(asked, stored, Processor.MultipliesBf16);

    /// <summary>The same for a GPU.</summary>
    /// <param name="asked">The option's value.</param>
    /// <param name="capability">Major version of its compute capability; null if unknown.</param>
    /// <param name="index">Its number.</param>
    internal static ComputePrecision ResolveOnCuda(ComputePrecision asked, int? capability, int index) =>
        asked switch
        {
            ComputePrecision.Auto => capability is < LeastCapability ? ComputePrecision.Fp32 : ComputePrecision.Bf16,
            ComputePrecision.Bf16 when capability is < LeastCapability => throw new ConfigurationException(
                $"Cannot compute in bf16 because the device cuda:{index} has compute capability {capability}, and bf16 needs "
                    + $"{LeastCapability}. Set compute to fp32."
            ),
            _ => asked,
        };

    /// <summary>The same for a processor.</summary>
    /// <param name="asked">The option's value.</param>
    /// <param name="stored">The type in which the model's matrices are stored.</param>
    /// <param name="multipliesBf16">Whether it has instructions for bf16.</param>
    internal static ComputePrecision ResolveOnCpu(ComputePrecision asked, ScalarType stored, bool multipliesBf16) =>
        asked switch
        {
            ComputePrecision.Auto => multipliesBf16 && stored is ScalarType.BFloat16 or ScalarType.Float16
                ? ComputePrecision.Bf16
                : ComputePrecision.Fp32,
            ComputePrecision.Tf32 => throw new ConfigurationException(
                "Cannot compute in tf32 on the CPU because it is a format of GPUs. Set compute to fp32, bf16 or auto."
            ),
            _ => asked,
        };

    /// <summary>The type of tensors in a format; auto must be resolved.</summary>
    public static ScalarType ToTensorType(this ComputePrecision precision) =>
        precision switch
        {
            ComputePrecision.Bf16 => ScalarType.BFloat16,
            ComputePrecision.Tf32 or ComputePrecision.Fp32 => ScalarType.Float32,
            _ => throw new ArgumentOutOfRangeException(nameof(precision), precision, "The format must be decided first."),
        };
}
