using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>The content of the tensor <c>weight.quant_state.bitsandbytes__nf4</c>, which is JSON in bytes.</summary>
/// <param name="BlockSize">Weights per scale.</param>
/// <param name="OriginalType">Type before quantization.</param>
/// <param name="Outputs">O.</param>
/// <param name="Inputs">I.</param>
/// <param name="NestedBlockSize">Scales per nested scale; null without double quantization.</param>
/// <param name="Offset">Added to every scale.</param>
internal sealed record Nf4State(int BlockSize, ScalarType OriginalType, long Outputs, long Inputs, int? NestedBlockSize, float Offset);

/// <summary>
/// 4-bit matrices as bitsandbytes stores them in Hugging Face checkpoints: <c>weight</c> U8 [ceil(n / 2), 1], <c>weight.absmax</c> U8 (F32
/// without double quantization), <c>weight.quant_map</c> F32 [16], <c>weight.nested_absmax</c> F32, <c>weight.nested_quant_map</c> F32
/// [256], and <c>weight.quant_state.bitsandbytes__nf4</c>.
/// </summary>
internal static class Nf4Format
{
    public const string Scales = ".absmax",
        Values = ".quant_map",
        NestedScales = ".nested_absmax",
        NestedValues = ".nested_quant_map",
        StateSuffix = ".quant_state.bitsandbytes__nf4",
        Fp4StateSuffix = ".quant_state.bitsandbytes__fp4";

    private const int LongestState = 4096;

    private static readonly (ScalarType Type, string Name)[] s_types =
    [
        (ScalarType.Float32, "float32"),
        (ScalarType.Float16, "float16"),
        (ScalarType.BFloat16, "bfloat16"),
        (ScalarType.Float64, "float64"),
    ];

    /// <summary>Reads a matrix. On the CPU its codes stay in the mapped file.</summary>
    public static Nf4Projection Read(CheckpointWeights files, string weight, long outputs, long inputs, Weight? bias)
    {
        using var scope = NewDisposeScope();
        var info = files.Find(weight + StateSuffix)!;
        var state = ReadState(files, info);
        if (state.Outputs != outputs || state.Inputs != inputs)
            throw new CheckpointException(
                $"{info.File}: '{weight}' is [{state.Outputs}, {state.Inputs}], but config.json requires [{outputs}, {inputs}]."
            );
        var count = outputs * inputs;
        var blocks = (count + state.BlockSize - 1) / state.BlockSize;
        Tensor Take(string suffix, ScalarType type, params long[] shape) => files.TakeStored(weight + suffix, type, shape);

        var codes = Take("", ScalarType.Byte, (count + 1) / 2, 1);
        var values = Take(Values, ScalarType.Float32, 16).cpu().data<float>().ToArray();
        if (state.NestedBlockSize is not { } group)
            return new(
                new(codes, Take(Scales, ScalarType.Float32, blocks), null, 0),
                outputs,
                inputs,
                state.OriginalType,
                bias,
                Share(values, Nf4Codebook.Values),
                blockSize: state.BlockSize
            );
        var scaleValues = Take(NestedValues, ScalarType.Float32, 256).cpu().data<float>().ToArray();
        return new(
            new(
                codes,
                Take(Scales, ScalarType.Byte, blocks),
                Take(NestedScales, ScalarType.Float32, (blocks + group - 1) / group),
                state.Offset
            ),
            outputs,
            inputs,
            state.OriginalType,
            bias,
            Share(values, Nf4Codebook.Values),
            Share(scaleValues, Nf4Codebook.ScaleValues),
            state.BlockSize,
            group
        );
    }

    public static TensorToWrite MakeTable(string name, float[] values) =>
        new(name, ScalarType.Float32, [values.Length], () => tensor(values));

    /// <summary>The state in the bytes that Python's <c>json.dumps</c> writes.</summary>
    public static TensorToWrite MakeState(string name, Nf4State state)
    {
        var nested = state.NestedBlockSize is { } size
            ? string.Create(
                CultureInfo.InvariantCulture,
                $", \"nested_blocksize\": {size}, \"nested_dtype\": \"float32\", \"nested_offset\": {(double)state.Offset:R}"
            )
            : "";
        var text = string.Create(
            CultureInfo.InvariantCulture,
            $"{{\"quant_type\": \"nf4\", \"blocksize\": {state.BlockSize}, \"dtype\": \"{GetName(state.OriginalType)}\", \"shape\": "
                + $"[{state.Outputs}, {state.Inputs}]{nested}}}"
        );
        var bytes = Encoding.UTF8.GetBytes(text);
        return new(name, ScalarType.Byte, [bytes.Length], () => tensor(bytes));
    }

    /// <summary>PyTorch's name of a floating-point type.</summary>
    public static string GetName(ScalarType type) =>
        Array.Find(s_types, t => t.Type == type).Name ?? throw new ShapeException($"Cannot quantize weights of type {type}.");

    private static Nf4State ReadState(CheckpointWeights files, TensorInfo info)
    {
        if (info.Type != ScalarType.Byte || info.Shape.Count != 1 || info.ElementCount > LongestState)
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' is {info.Type} [{string.Join(", ", info.Shape)}], but it must be a string of at most "
                    + $"{LongestState} bytes in U8."
            );
        using var bytes = files.TakeStored(info.Name, ScalarType.Byte, [.. info.Shape]).cpu();
        try
        {
            using var document = WholeJson.Parse(bytes.data<byte>().ToArray());
            var json = document.RootElement;
            var shape = json.GetProperty("shape").EnumerateArray().Select(x => x.GetInt64()).ToArray();
            var type = Array.Find(s_types, t => t.Name == json.GetProperty("dtype").GetString());
            var nested = json.TryGetProperty("nested_blocksize", out var size);
            var state = new Nf4State(
                json.GetProperty("blocksize").GetInt32(),
                type.Type,
                shape.ElementAtOrDefault(0),
                shape.ElementAtOrDefault(1),
                nested ? size.GetInt32() : null,
                nested ? json.GetProperty("nested_offset").GetSingle() : 0
            );
            static bool IsBlock(int value) => value is >= 2 and <= 1 << 20 && BitOperations.IsPow2(value);
            return
                type.Name is not null
                && shape.Length == 2
                && json.GetProperty("quant_type").GetString() == "nf4"
                && IsBlock(state.BlockSize)
                && IsBlock(state.NestedBlockSize ?? 2)
                ? state
                : throw new FormatException($"{json.GetRawText()} is not supported");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw new CheckpointException($"{info.File}: cannot read '{info.Name}': {e.Message}.", e);
        }
    }

    // All matrices share one table in memory if the file contains the published one.
    private static float[] Share(float[] read, float[] published) => read.AsSpan().SequenceEqual(published) ? published : read;
}
