using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace LongLora.Runtime;

/// <summary>What the processor can do that .NET does not say.</summary>
internal static class Processor
{
    private const int Features = 7,
        ExtendedState = 13,
        TileData = 18,
        Authentic = 0x68747541, // the first letters of AuthenticAMD
        Zen5 = 0x1A;

    /// <summary>
    /// Whether it multiplies bf16 (AVX512-BF16 or AMX-BF16) and the operating system keeps the registers for it. On others libtorch
    /// converts operands to fp32, which takes longer than computing in fp32.
    /// </summary>
    public static bool MultipliesBf16 { get; } =
        // That AVX-512 is supported also says that the operating system keeps its registers.
        Avx512F.IsSupported
        && (
            (CpuId(Features, 1).Eax & 1 << 5) != 0 // AVX512-BF16
            || ((CpuId(Features, 0).Edx & 1 << 22) != 0 && KeepsTiles()) // AMX-BF16
        );

    /// <summary>
    /// Whether it computes twice as fast as MKL lets it: MKL uses AVX-512 on processors of Intel only, and those of AMD compute whole
    /// registers of AVX-512 at once from Zen 5 on.
    /// </summary>
    public static bool IsFasterThanMkl { get; } =
        Vector512.IsHardwareAccelerated
        && CpuId(0, 0).Ebx == Authentic
        && GetFamily() >= Zen5
        && Environment.GetEnvironmentVariable(ComputeProfile.LevelVariable) is null or "" or "avx512";

    // Base family and, if that is 15, the extended one.
    private static int GetFamily()
    {
        var signature = CpuId(1, 0).Eax;
        var family = signature >> 8 & 15;
        return family == 15 ? family + (signature >> 20 & 255) : family;
    }

    // The enabled parts of the state lie in a save area, whose size is known; the tiles are enabled if it reaches to their end.
    private static bool KeepsTiles()
    {
        var (size, offset, _, _) = CpuId(ExtendedState, TileData);
        return size != 0 && CpuId(ExtendedState, 0).Ebx >= offset + size;
    }

    private static (int Eax, int Ebx, int Ecx, int Edx) CpuId(int leaf, int subLeaf) =>
        X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= leaf ? X86Base.CpuId(leaf, subLeaf) : default;
}
