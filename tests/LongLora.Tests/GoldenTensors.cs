using System.Text;
using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests;

/// <summary>
/// Reads a small safetensors file whole, in the plainest way: the tests' own reader, apart from the product's. Also stands in for a
/// checkpoint made in memory.
/// </summary>
internal sealed class GoldenTensors(Dictionary<string, Tensor> values, string file = "memory") : ITensorSource
{
    public Tensor this[string name] =>
        values.TryGetValue(name, out var value) ? value : throw new KeyNotFoundException($"{file} has no {name}");

    public IEnumerable<string> Names => values.Keys;

    public IReadOnlyDictionary<string, TensorInfo> Tensors =>
        values.ToDictionary(p => p.Key, p => new TensorInfo(p.Key, p.Value.dtype, p.Value.shape, file));

    public static GoldenTensors Read(string path)
    {
        var bytes = File.ReadAllBytes(path);
        var headerLength = (int)BitConverter.ToInt64(bytes, 0);
        using var header = JsonDocument.Parse(Encoding.UTF8.GetString(bytes, 8, headerLength));
        var values = new Dictionary<string, Tensor>();
        foreach (var entry in header.RootElement.EnumerateObject().Where(e => e.Name != "__metadata__"))
        {
            var shape = entry.Value.GetProperty("shape").EnumerateArray().Select(x => x.GetInt64()).ToArray();
            var offsets = entry.Value.GetProperty("data_offsets").EnumerateArray().Select(x => x.GetInt32()).ToArray();
            var data = bytes.AsSpan((8 + headerLength + offsets[0])..(8 + headerLength + offsets[1]));
            var type = entry.Value.GetProperty("dtype").GetString();
            values.Add(
                entry.Name,
                (
                    type switch
                    {
                        "F32" => tensor(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(data).ToArray()),
                        "F64" => tensor(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, double>(data).ToArray()),
                        "I64" => tensor(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, long>(data).ToArray()),
                        "I32" => tensor(System.Runtime.InteropServices.MemoryMarshal.Cast<byte, int>(data).ToArray()),
                        _ => throw new NotSupportedException(type),
                    }
                )
                    .reshape(shape)
                    .DetachFromDisposeScope()
            );
        }
        return new(values, path);
    }

    /// <summary>Some of the tensors under other names.</summary>
    public GoldenTensors Where(Func<string, bool> keep) => new(values.Where(p => keep(p.Key)).ToDictionary(p => p.Key, p => p.Value), file);

    public Tensor Open(string name) =>
        Tensors.ContainsKey(name) ? this[name].clone() : throw new CheckpointException($"{file} has no tensor '{name}'.");

    public void Dispose()
    {
        foreach (var value in values.Values)
            value.Dispose();
    }
}
