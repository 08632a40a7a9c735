using System.Buffers.Binary;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>Writes <c>.safetensors</c> files as a stream, with one tensor in memory at a time, and atomically.</summary>
internal static class SafetensorsWriter
{
    /// <summary>The largest file that <see cref="WriteModel"/> writes by default: 5 GB, as in transformers.</summary>
    public const long DefaultShardBytes = 5_000_000_000;

    // So the data begins at a multiple of 8 bytes. With the widest types first, every tensor begins at a multiple of its element size.
    private const int Alignment = 8;

    /// <summary>Writes one file.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="tensors">What to write. The widest elements come first, and the order is kept among elements of one size.</param>
    /// <param name="metadata">Written to <c>__metadata__</c> after <c>format: pt</c>, which transformers requires.</param>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    /// <exception cref="ShapeException">Two tensors have the same name, or a tensor has another shape than announced.</exception>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        var ordered = tensors.OrderByDescending(t => SafetensorsTypes.GetSize(t.Type)).ToList();
        var header = MakeHeader(path, ordered, metadata);
        AtomicFile.Write(path, stream =>
        {
            stream.Write(header);
            foreach (var tensor in ordered)
                CheckpointShards.WriteData(tensor, piece => stream.Write(piece));
        });
    }

    /// <summary>
    /// Writes the weights of a model as transformers does: <c>model.safetensors</c>, or <c>model-00001-of-0000N.safetensors</c> and so on
    /// with <c>model.safetensors.index.json</c>.
    /// </summary>
    /// <param name="folder">
    /// Where to write. Other weights in it are kept, so use a new folder, such as <see cref="AtomicFile.WriteDirectory"/> provides.
    /// </param>
    /// <param name="tensors">What to write, in this order.</param>
    /// <param name="maxShardBytes">The most bytes of tensors in one file; a larger tensor gets its own file. Default 5 GB.</param>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void WriteModel(string folder, IReadOnlyList<TensorToWrite> tensors, long maxShardBytes = DefaultShardBytes) =>
        CheckpointShards.Write(
            folder,
            tensors,
            maxShardBytes,
            CheckpointDirectory.WeightsFile,
            CheckpointDirectory.IndexFile,
            (path, shard) => Write(path, shard)
        );

    private static byte[] MakeHeader(string path, List<TensorToWrite> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        buffer.Write(new byte[SafetensorsHeader.PrefixBytes]);
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteStartObject(SafetensorsHeader.MetadataName);
            if (metadata is null || !metadata.ContainsKey("format"))
                json.WriteString("format", "pt");
            foreach (var (key, value) in metadata ?? new Dictionary<string, string>())
                json.WriteString(key, value);
            json.WriteEndObject();
            WriteEntries(json, path, tensors);
            json.WriteEndObject();
        }
        while (buffer.Length % Alignment != 0)
            buffer.WriteByte((byte)' ');
        var header = buffer.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)(header.Length - SafetensorsHeader.PrefixBytes));
        return header.Length - SafetensorsHeader.PrefixBytes <= SafetensorsHeader.MaxHeaderBytes
            ? header
            : throw new ShapeException(
                $"Cannot write {path} because its header of {header.Length} bytes exceeds the format's limit of "
                    + $"{SafetensorsHeader.MaxHeaderBytes}. Write several files."
            );
    }

    private static void WriteEntries(Utf8JsonWriter json, string path, List<TensorToWrite> tensors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { SafetensorsHeader.MetadataName };
        var offset = 0L;
        foreach (var tensor in tensors)
        {
            if (!names.Add(tensor.Name))
                throw new ShapeException($"Cannot write {path} because two tensors have the name '{tensor.Name}'.");
            json.WriteStartObject(tensor.Name);
            json.WriteString("dtype", SafetensorsTypes.ToCode(tensor.Type));
            json.WriteStartArray("shape");
            foreach (var size in tensor.Shape)
                json.WriteNumberValue(size);
            json.WriteEndArray();
            json.WriteStartArray("data_offsets");
            json.WriteNumberValue(offset);
            offset = checked(offset + tensor.ByteCount);
            json.WriteNumberValue(offset);
            json.WriteEndArray();
            json.WriteEndObject();
        }
    }
}
