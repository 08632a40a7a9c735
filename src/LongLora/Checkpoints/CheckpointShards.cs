using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>Shared by the writers of weight files: shards with an index, and writing a tensor's bytes chunk by chunk.</summary>
internal static unsafe class CheckpointShards
{
    /// <summary>Writes one file, or shards with an index, named as in transformers.</summary>
    public static void Write(
        string folder,
        IReadOnlyList<TensorToWrite> tensors,
        long maxShardBytes,
        string whole,
        string index,
        Action<string, IReadOnlyList<TensorToWrite>> write
    )
    {
        var shards = Split(tensors, maxShardBytes);
        if (shards.Count <= 1)
        {
            write(Path.Combine(folder, whole), tensors);
            return;
        }
        var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
        for (var i = 0; i < shards.Count; i++)
        {
            var name = $"{Path.GetFileNameWithoutExtension(whole)}-{i + 1:D5}-of-{shards.Count:D5}{Path.GetExtension(whole)}";
            foreach (var tensor in shards[i])
            {
                if (!map.TryAdd(tensor.Name, name))
                    throw new ShapeException($"Cannot write '{folder}' because two tensors have the name '{tensor.Name}'.");
            }
        }
        foreach (var shard in shards)
            write(Path.Combine(folder, map[shard[0].Name]), shard);
        AtomicFile.WriteText(Path.Combine(folder, index), CheckpointIndex.Format(tensors.Sum(t => t.ByteCount), map));
    }

    /// <summary>Makes a tensor, whole or in pieces, and passes on its bytes in its type.</summary>
    /// <exception cref="CheckpointException">A number is too large for this type, so it would become infinite.</exception>
    /// <exception cref="ShapeException">The tensor has another shape than announced.</exception>
    public static void WriteData(TensorToWrite tensor, Action<ReadOnlySpan<byte>> sink)
    {
        if (tensor.Pieces is { } pieces)
        {
            long expected = tensor.Shape.Aggregate(1L, (product, size) => product * size),
                written = 0;
            foreach (var piece in pieces)
            {
                WriteBytes(tensor, piece, sink);
                written += piece.numel();
            }
            if (written != expected)
                throw new ShapeException($"'{tensor.Name}' was announced with {expected} elements but made with {written}.");
            return;
        }
        using var made = tensor.Value();
        if (!made.shape.SequenceEqual(tensor.Shape))
            throw new ShapeException(
                $"'{tensor.Name}' was announced as [{string.Join(", ", tensor.Shape)}] but made as [{string.Join(", ", made.shape)}]."
            );
        WriteBytes(tensor, made, sink);
    }

    private static void WriteBytes(TensorToWrite tensor, Tensor made, Action<ReadOnlySpan<byte>> sink)
    {
        const int pieceBytes = 1 << 26;
        if (made.numel() == 0)
            return;
        using var scope = NewDisposeScope();
        using var value = made.detach().to(tensor.Type).cpu().contiguous();
        if (made.dtype != tensor.Type)
            TensorNumbers.RequireRepresentable(made, value, tensor.Name);
        var data = (byte*)NativeTensor.GetPointer(value);
        var bytes = value.numel() * value.element_size();
        for (var written = 0L; written < bytes; written += pieceBytes)
            sink(new ReadOnlySpan<byte>(data + written, (int)Math.Min(pieceBytes, bytes - written)));
    }

    private static List<List<TensorToWrite>> Split(IReadOnlyList<TensorToWrite> tensors, long maxShardBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxShardBytes, 1);
        var shards = new List<List<TensorToWrite>>();
        var filled = 0L;
        foreach (var tensor in tensors)
        {
            if (shards.Count == 0 || tensor.ByteCount > maxShardBytes - filled)
            {
                shards.Add([]);
                filled = 0;
            }
            shards[^1].Add(tensor);
            filled += tensor.ByteCount;
        }
        return shards;
    }
}
