using System.Text.Json;
using LongLora.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Tests.Quantization;

/// <summary>NF4 by the book, one weight at a time, from the tensors that a checkpoint stores.</summary>
internal static class SlowNf4
{
    // QLoRA, appendix E; the table is written down once more on purpose.
    public static readonly float[] Table =
    [
        -1.0f,
        -0.6961928009986877f,
        -0.5250730514526367f,
        -0.39491748809814453f,
        -0.28444138169288635f,
        -0.18477343022823334f,
        -0.09105003625154495f,
        0.0f,
        0.07958029955625534f,
        0.16093020141124725f,
        0.24611230194568634f,
        0.33791524171829224f,
        0.44070982933044434f,
        0.5626170039176941f,
        0.7229568362236023f,
        1.0f,
    ];

    public static int Code(float normalised) => Enumerable.Range(0, 16).MinBy(i => Math.Abs((double)normalised - Table[i]));

    public static (int[] Codes, float[] Magnitudes) Quantize(float[] weights)
    {
        var magnitudes = weights.Chunk(64).Select(block => block.Max(Math.Abs)).ToArray();
        return ([.. weights.Select((w, i) => magnitudes[i / 64] == 0 ? 7 : Code(w * (1 / magnitudes[i / 64])))], magnitudes);
    }

    /// <summary>Weights of <paramref name="name"/> out of the tensors of a file.</summary>
    public static float[] Dequantize(IReadOnlyDictionary<string, Tensor> stored, string name)
    {
        var state = JsonDocument.Parse(stored[name + ".quant_state.bitsandbytes__nf4"].data<byte>().ToArray()).RootElement;
        var shape = state.GetProperty("shape").EnumerateArray().Select(x => x.GetInt32()).ToArray();
        var codes = stored[name].data<byte>().ToArray();
        var scales = stored[name + ".absmax"].data<byte>().ToArray();
        var nested = stored[name + ".nested_absmax"].data<float>().ToArray();
        var nestedTable = stored[name + ".nested_quant_map"].data<float>().ToArray();
        var offset = state.GetProperty("nested_offset").GetSingle();
        var result = new float[shape[0] * shape[1]];
        for (var i = 0; i < result.Length; i++)
        {
            var block = i / state.GetProperty("blocksize").GetInt32();
            var scale = nestedTable[scales[block]] * nested[block / state.GetProperty("nested_blocksize").GetInt32()];
            scale += offset;
            var code = i % 2 == 0 ? codes[i / 2] / 16 : codes[i / 2] % 16;
            result[i] = Table[code] * scale;
        }
        return result;
    }

    public static Dictionary<string, Tensor> Tensors(IEnumerable<TensorToWrite> stored) =>
        stored.ToDictionary(t => t.Name, t => t.Value().DetachFromDisposeScope());

    public static Tensor Random(long seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator).mul_(0.02);
    }
}
