using LongLora.Checkpoints;

namespace LongLora.Export;

/// <summary>
/// Chooses the type of each tensor by llama.cpp's rules: vectors stay F32, the head gets more bits than the rest, and so do half of the
/// value and down matrices in the mixed types.
/// </summary>
/// <param name="fileType">The type of most matrices.</param>
/// <param name="layers">Number of blocks.</param>
/// <param name="tied">Whether the embedding matrix is also the head.</param>
internal sealed class GgufMix(GgufFileType fileType, int layers, bool tied)
{
    /// <summary>The type of one tensor.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <param name="shape">Its dimensions, outermost first.</param>
    public GgufType TypeOf(string name, IReadOnlyList<long> shape) =>
        shape.Count == 1 ? GgufType.F32
        : Most is GgufType.F32 or GgufType.F16 or GgufType.Bf16 ? Most
        : Fitting(Wanted(name), shape[^1]);

    private GgufType Most =>
        fileType switch
        {
            GgufFileType.F32 => GgufType.F32,
            GgufFileType.F16 => GgufType.F16,
            GgufFileType.Bf16 => GgufType.Bf16,
            GgufFileType.Q4_0 => GgufType.Q4_0,
            GgufFileType.Q4_K_M => GgufType.Q4_K,
            GgufFileType.Q5_K_M => GgufType.Q5_K,
            GgufFileType.Q6_K => GgufType.Q6_K,
            _ => GgufType.Q8_0,
        };

    private GgufType Wanted(string name)
    {
        if (Most == GgufType.Q8_0)
            return Most;
        if (name == "output.weight" || (tied && name == "token_embd.weight"))
            return GgufType.Q6_K;
        var isSensitive =
            name.EndsWith(".attn_v.weight", StringComparison.Ordinal)
            || name.EndsWith(".attn_qkv.weight", StringComparison.Ordinal)
            || name.EndsWith(".ffn_down.weight", StringComparison.Ordinal);
        return isSensitive && fileType is GgufFileType.Q4_K_M or GgufFileType.Q5_K_M && HasMoreBits(Layer(name)) ? GgufType.Q6_K : Most;
    }

    // The first and the last eighth of the layers, and every third layer in between.
    private bool HasMoreBits(int layer) => layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;

    // blk.12.attn_v.weight
    private static int Layer(string name) => int.Parse(name.Split('.')[1], System.Globalization.CultureInfo.InvariantCulture);

    // If the row length is not a multiple of the block, the next type with blocks of 32 is used, or 16 bits.
    private static GgufType Fitting(GgufType type, long width)
    {
        if (width % GgufFormat.BlockSize(type) == 0)
            return type;
        var smaller = type switch
        {
            GgufType.Q4_K => GgufType.Q5_0,
            GgufType.Q5_K => GgufType.Q5_1,
            GgufType.Q6_K => GgufType.Q8_0,
            _ => type,
        };
        return width % GgufFormat.SmallBlock == 0 ? smaller : GgufType.F16;
    }
}
