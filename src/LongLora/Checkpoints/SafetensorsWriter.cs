using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>A tensor that is to be written, made only when its turn comes.</summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">Its type in the file.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Value">Makes it; called once, and the result is disposed after it is written.</param>
public sealed record TensorToWrite(string Name, ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor> Value)
{
    internal long Bytes => Shape.Aggregate((long)SafetensorsTypes.Size(Type), (product, size) => product * size);

    /// <summary>A tensor that exists: an alias of it is written.</summary>
    public static TensorToWrite Of(string name, Tensor value) => new(name, value.dtype, value.shape, value.alias);
}

/// <summary>Writes safetensors files, one tensor in memory at a time, atomically, in shards where asked.</summary>
public static unsafe class SafetensorsWriter
{
    private const int Alignment = 8;

    /// <summary>Writes one file.</summary>
    /// <param name="path">The file to replace.</param>
    /// <param name="tensors">What to write, in this order.</param>
    /// <param name="metadata">Goes into <c>__metadata__</c>; <c>format: pt</c>, which transformers wants, is always there.</param>
    /// <exception cref="ConfigurationException">The place cannot be written to.</exception>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata = null) =>
        AtomicFile.Write(path, stream =>
        {
            WriteHeader(stream, tensors, metadata);
            foreach (var tensor in tensors)
                WriteTensor(stream, tensor, path);
        });

    /// <summary>
    /// Writes <c>model.safetensors</c>, or <c>model-00001-of-0000N.safetensors</c>, ... with <c>model.safetensors.index.json</c>, as
    /// transformers does.
    /// </summary>
    /// <param name="folder">Where to write.</param>
    /// <param name="tensors">What to write, in this order.</param>
    /// <param name="maxShardBytes">Largest file, unless one tensor alone is larger. Default 5 GB.</param>
    public static void WriteModel(string folder, IReadOnlyList<TensorToWrite> tensors, long maxShardBytes = 5_000_000_000)
    {
        var shards = new List<List<TensorToWrite>>();
        long size = 0;
        foreach (var tensor in tensors)
        {
            if (shards.Count == 0 || size + tensor.Bytes > maxShardBytes)
            {
                shards.Add([]);
                size = 0;
            }
            shards[^1].Add(tensor);
            size += tensor.Bytes;
        }
        if (shards.Count <= 1)
        {
            Write(Path.Combine(folder, "model.safetensors"), tensors);
            return;
        }
        var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < shards.Count; i++)
        {
            var name = $"model-{i + 1:D5}-of-{shards.Count:D5}.safetensors";
            Write(Path.Combine(folder, name), shards[i]);
            foreach (var tensor in shards[i])
                map.Add(tensor.Name, name);
        }
        var index = new { metadata = new { total_size = tensors.Sum(t => t.Bytes) }, weight_map = map };
        AtomicFile.WriteText(Path.Combine(folder, "model.safetensors.index.json"), JsonSerializer.Serialize(index, s_indented) + "\n");
    }

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private static void WriteHeader(Stream stream, IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            json.WriteString("format", "pt");
            foreach (var (key, value) in metadata ?? new Dictionary<string, string>())
                json.WriteString(key, value);
            json.WriteEndObject();
            long offset = 0;
            foreach (var tensor in tensors)
            {
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", SafetensorsTypes.ToCode(tensor.Type));
                json.WriteStartArray("shape");
                foreach (var dimension in tensor.Shape)
                    json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.Bytes);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        buffer.Write(Encoding.ASCII.GetBytes(new string(' ', (int)((Alignment - buffer.Length % Alignment) % Alignment))));
        Span<byte> prefix = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)buffer.Length);
        stream.Write(prefix);
        buffer.WriteTo(stream);
    }

    private static void WriteTensor(Stream stream, TensorToWrite entry, string path)
    {
        using var scope = NewDisposeScope();
        var made = entry.Value();
        if (!made.shape.SequenceEqual(entry.Shape))
            throw new ShapeException($"'{entry.Name}' was announced as [{string.Join(", ", entry.Shape)}] and is [{string.Join(", ", made.shape)}].");
        var value = made.detach().to(entry.Type).cpu().contiguous();
        var at = (byte*)NativeTensor.Data(value);
        for (long left = entry.Bytes; left > 0;)
        {
            var piece = (int)Math.Min(left, 1 << 30);
            var from = (IntPtr)at;
            AtomicFile.Guard(path, () => stream.Write(new ReadOnlySpan<byte>((void*)from, piece)));
            at += piece;
            left -= piece;
        }
    }
}
