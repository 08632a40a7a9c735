using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Writes files that <c>torch.load</c> reads, even with <c>weights_only=True</c>: a zip archive with a pickled dictionary of tensors, each
/// with its own storage. It writes as a stream, with one tensor in memory at a time, and atomically. The same tensors give the same bytes.
/// </summary>
internal static class TorchPickleWriter
{
    private const string Folder = "archive/";

    /// <summary>Writes one file.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="tensors">What to write, in this order.</param>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    /// <exception cref="ShapeException">Two tensors have the same name, or a tensor has another shape than announced.</exception>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors) => Write(path, tensors, uint.MaxValue);

    /// <summary>
    /// Writes the weights of a model as older versions of transformers did: <c>pytorch_model.bin</c>, or
    /// <c>pytorch_model-00001-of-0000N.bin</c> and so on with <c>pytorch_model.bin.index.json</c>.
    /// </summary>
    /// <param name="folder">Where to write: a new folder, such as <see cref="AtomicFile.WriteDirectory"/> provides.</param>
    /// <param name="tensors">What to write, in this order.</param>
    /// <param name="maxShardBytes">The most bytes of tensors in one file; a larger tensor gets its own file. Default 5 GB.</param>
    /// <exception cref="ConfigurationException">The path cannot be written.</exception>
    public static void WriteModel(
        string folder,
        IReadOnlyList<TensorToWrite> tensors,
        long maxShardBytes = SafetensorsWriter.DefaultShardBytes
    ) => CheckpointShards.Write(folder, tensors, maxShardBytes, CheckpointDirectory.PickleFile, CheckpointDirectory.PickleIndexFile, Write);

    internal static void Write(string path, IReadOnlyList<TensorToWrite> tensors, long wide)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var tensor in tensors)
        {
            if (!names.Add(tensor.Name))
                throw new ShapeException($"Cannot write {path} because two tensors have the name '{tensor.Name}'.");
        }
        AtomicFile.Write(path, stream =>
        {
            var zip = new StoredZipWriter(stream, wide);
            zip.Add(Folder + "data.pkl", WritePickle(tensors));
            zip.Add(Folder + "byteorder", "little"u8.ToArray());
            for (var i = 0; i < tensors.Count; i++)
                zip.Add(string.Create(CultureInfo.InvariantCulture, $"{Folder}data/{i}"), tensors[i].ByteCount, sink =>
                    CheckpointShards.WriteData(tensors[i], sink)
                );
            zip.Add(Folder + "version", "3\n"u8.ToArray());
            zip.Finish();
        });
    }

    // Protocol 2, which every reader knows. The opcodes are those that TensorPickle reads.
    private static byte[] WritePickle(IReadOnlyList<TensorToWrite> tensors)
    {
        using var p = new MemoryStream();
        p.Write([0x80, 2]);
        WriteEmptyDictionary(p);
        p.WriteByte((byte)'(');
        for (var i = 0; i < tensors.Count; i++)
        {
            WriteText(p, tensors[i].Name);
            WriteTensor(p, tensors[i], i);
        }
        p.Write("u."u8);
        return p.ToArray();
    }

    private static void WriteTensor(MemoryStream p, TensorToWrite tensor, int key)
    {
        p.Write("ctorch._utils\n_rebuild_tensor_v2\n(("u8);
        WriteText(p, "storage");
        p.Write(Encoding.ASCII.GetBytes($"ctorch\n{TorchTypes.FindStorage(tensor.Type)}\n"));
        WriteText(p, key.ToString(CultureInfo.InvariantCulture));
        WriteText(p, "cpu");
        WriteInteger(p, tensor.ByteCount / SafetensorsTypes.GetSize(tensor.Type));
        p.Write("tQ"u8);
        WriteInteger(p, 0);
        WriteIntegers(p, tensor.Shape);
        var strides = new long[tensor.Shape.Count];
        for (var (i, stride) = (strides.Length - 1, 1L); i >= 0; i--)
        {
            strides[i] = stride;
            stride *= Math.Max(tensor.Shape[i], 1);
        }
        WriteIntegers(p, strides);
        p.WriteByte(0x89); // requires_grad: False
        WriteEmptyDictionary(p); // no hooks
        p.Write("tR"u8);
    }

    private static void WriteEmptyDictionary(MemoryStream p) => p.Write("ccollections\nOrderedDict\n)R"u8);

    private static void WriteText(MemoryStream p, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        Span<byte> length = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        p.WriteByte((byte)'X');
        p.Write(length);
        p.Write(bytes);
    }

    private static void WriteIntegers(MemoryStream p, IReadOnlyList<long> numbers)
    {
        p.WriteByte((byte)'(');
        foreach (var number in numbers)
            WriteInteger(p, number);
        p.WriteByte((byte)'t');
    }

    private static void WriteInteger(MemoryStream p, long number)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, number);
        if (number <= byte.MaxValue)
            p.Write([(byte)'K', bytes[0]]);
        else if (number <= int.MaxValue)
            p.Write([(byte)'J', .. bytes[..4]]);
        else
            p.Write([0x8A, 8, .. bytes]);
    }
}
