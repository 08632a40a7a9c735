using System.Buffers.Binary;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// The bytes of a pickle, one by one. Memory follows what is really there and never a length that the file claims.
/// </summary>
/// <param name="stream">A buffered stream at the start of the pickle.</param>
/// <param name="length">The most bytes that belong to the pickle.</param>
/// <param name="path">The file, for messages.</param>
internal sealed class PickleInput(Stream stream, long length, string path)
{
    /// <summary>The longest text, such as a tensor's name.</summary>
    private const int MaxTextBytes = 1 << 20;

    private readonly byte[] _small = new byte[8];
    private readonly long _length = length;
    private long _left = length;

    /// <summary>Bytes read so far.</summary>
    public long Position => _length - _left;

    public int ReadByte() => Take(1)[0];

    public int ReadUint16() => BinaryPrimitives.ReadUInt16LittleEndian(Take(2));

    public int ReadInt32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    public long ReadInt64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    // Only floats are big-endian in a pickle.
    public double ReadDouble() => BinaryPrimitives.ReadDoubleBigEndian(Take(8));

    /// <summary>Reads a text of that many bytes.</summary>
    public string ReadText(long bytes)
    {
        if (bytes is < 0 or > MaxTextBytes || bytes > _left)
            throw MakeError($"a string of {bytes} bytes");
        var buffer = new byte[bytes];
        Fill(buffer);
        return Encoding.UTF8.GetString(buffer);
    }

    /// <summary>Reads a little-endian integer in two's complement; null if it has more than 64 bits.</summary>
    public long? ReadInteger(long bytes)
    {
        if (bytes is < 0 or > 255)
            throw MakeError($"an integer of {bytes} bytes");
        Span<byte> buffer = stackalloc byte[(int)bytes];
        Fill(buffer);
        if (bytes > 8)
            return null;
        var value = bytes > 0 && buffer[^1] >= 128 ? -1L : 0;
        for (var i = (int)bytes - 1; i >= 0; i--)
            value = (value << 8) | buffer[i];
        return value;
    }

    /// <summary>Reads a text up to the end of the line.</summary>
    public string ReadLine()
    {
        var text = new StringBuilder();
        for (int next; (next = ReadByte()) != '\n'; )
        {
            if (text.Length == 1000)
                throw MakeError("a line of more than 1000 characters");
            text.Append((char)next);
        }
        return text.ToString();
    }

    /// <summary>The error to throw.</summary>
    public CheckpointException MakeError(string what) =>
        new($"{path}: the pickle has {what} at byte {Position}. The file is damaged or does not contain PyTorch tensors.");

    private ReadOnlySpan<byte> Take(int count)
    {
        var bytes = _small.AsSpan(0, count);
        Fill(bytes);
        return bytes;
    }

    private void Fill(Span<byte> bytes)
    {
        if (bytes.Length > _left || stream.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
            throw MakeError("an early end");
        _left -= bytes.Length;
    }
}
