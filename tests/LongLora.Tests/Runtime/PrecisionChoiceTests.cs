using LongLora.Options;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

public class PrecisionChoiceTests
{
    [Theory]
    [InlineData(ComputePrecision.Auto, ScalarType.BFloat16, true, ComputePrecision.Bf16)]
    [InlineData(ComputePrecision.Auto, ScalarType.Float16, true, ComputePrecision.Bf16)]
    [InlineData(ComputePrecision.Auto, ScalarType.Float32, true, ComputePrecision.Fp32)]
    [InlineData(ComputePrecision.Auto, ScalarType.BFloat16, false, ComputePrecision.Fp32)]
    [InlineData(ComputePrecision.Auto, ScalarType.Float16, false, ComputePrecision.Fp32)]
    [InlineData(ComputePrecision.Bf16, ScalarType.Float32, false, ComputePrecision.Bf16)]
    [InlineData(ComputePrecision.Fp32, ScalarType.BFloat16, true, ComputePrecision.Fp32)]
    public void On_the_CPU_auto_asks_for_instructions_and_for_16_bits(
        ComputePrecision asked,
        ScalarType stored,
        bool multiplies,
        ComputePrecision expected
    ) => Assert.Equal(expected, PrecisionChoice.ResolveOnCpu(asked, stored, multiplies));

    [Fact]
    public void Tf32_on_the_CPU_and_bf16_on_an_old_GPU_are_refused()
    {
        var onCpu = Assert.Throws<ConfigurationException>(() =>
            PrecisionChoice.ResolveOnCpu(ComputePrecision.Tf32, ScalarType.Float32, true)
        );
        Assert.Contains("Set compute to fp32, bf16 or auto", onCpu.Message, StringComparison.Ordinal);
        var onOld = Assert.Throws<ConfigurationException>(() => PrecisionChoice.ResolveOnCuda(ComputePrecision.Bf16, 7, 1));
        Assert.Contains("cuda:1 has compute capability 7", onOld.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ComputePrecision.Auto, 7, ComputePrecision.Fp32)]
    [InlineData(ComputePrecision.Auto, 8, ComputePrecision.Bf16)]
    [InlineData(ComputePrecision.Auto, null, ComputePrecision.Bf16)]
    [InlineData(ComputePrecision.Tf32, 8, ComputePrecision.Tf32)]
    [InlineData(ComputePrecision.Fp32, null, ComputePrecision.Fp32)]
    public void On_CUDA_auto_is_bf16_where_attention_takes_it(ComputePrecision asked, int? capability, ComputePrecision expected) =>
        Assert.Equal(expected, PrecisionChoice.ResolveOnCuda(asked, capability, 0));

    [Fact]
    public void Former_name_says_nothing_about_the_CPU()
    {
        static ComputePrecision Resolve(string recipe, DeviceType device) =>
            Recipe.Parse(recipe, "test", FineTuneOptionTable.Defaults).Machine.ResolveCompute(device, 0, ScalarType.BFloat16);
        Assert.Equal(ComputePrecision.Fp32, Resolve("cuda-compute: bf16", DeviceType.CPU));
        Assert.Equal(ComputePrecision.Fp32, Resolve("cuda-compute: tf32", DeviceType.CPU));
        Assert.Equal(ComputePrecision.Tf32, Resolve("cuda-compute: tf32", DeviceType.CUDA));
        Assert.Equal(ComputePrecision.Bf16, Resolve("{cuda-compute: tf32, compute: bf16}", DeviceType.CPU));
        Assert.DoesNotContain("cuda-compute", Recipe.Write(FineTuneOptionTable.Defaults, "test"), StringComparison.Ordinal);
    }

    // The kernel's own list. A processor of another maker, or a system without the file, has nothing to compare.
    [Fact]
    public void Processor_multiplies_bf16_where_the_system_lists_it()
    {
        const string list = "/proc/cpuinfo";
        Assert.SkipUnless(File.Exists(list), "needs /proc/cpuinfo");
        var flags = File.ReadLines(list).FirstOrDefault(line => line.StartsWith("flags", StringComparison.Ordinal))?.Split(' ', '\t') ?? [];
        Assert.SkipUnless(flags.Length > 0, "this kernel lists no flags");
        Assert.Equal(flags.Contains("avx512f") && (flags.Contains("avx512_bf16") || flags.Contains("amx_bf16")), Processor.MultipliesBf16);
    }
}
