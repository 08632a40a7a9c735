using System.Buffers.Binary;

namespace LongLora.Documents.Workers;

/// <summary>In a worker: the file that it reads. Each part comes from the program that asked, so a worker opens no files.</summary>
/// <param name="frames">The pipes.</param>
/// <param name="length">Bytes of the file; null if it can only be read from start to end.</param>
internal sealed class RequestedStream(FrameStream frames, long? length) : Stream
{
    private const int KeptBlocks = 64;

    private readonly Dictionary<long, byte[]> _blocks = [];
    private readonly Queue<long> _order = [];
    private byte[] _piece = [];
    private int _inPiece;
    private bool _isAtEnd;
    private long _position;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => length is not null;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => length ?? throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => length is null ? throw new NotSupportedException() : _position;
        set => Seek(value, SeekOrigin.Begin);
    }

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        var piece = length is null ? ReadOn() : ReadAt(_position);
        var count = Math.Min(piece.Length, buffer.Length);
        piece.Span[..count].CopyTo(buffer);
        if (length is null)
            _inPiece += count;
        else
            _position += count;
        return count;
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override int ReadByte()
    {
        Span<byte> one = stackalloc byte[1];
        return Read(one) == 0 ? -1 : one[0];
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin)
    {
        if (length is not { } all)
            throw new NotSupportedException();
        var target =
            offset
            + (
                origin == SeekOrigin.Begin ? 0
                : origin == SeekOrigin.Current ? _position
                : all
            );
        return target >= 0
            ? _position = target
            : throw new ArgumentOutOfRangeException(nameof(offset), "The place is before the start of the file.");
    }

    /// <inheritdoc/>
    public override void Flush() { }

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private ReadOnlyMemory<byte> ReadOn()
    {
        if (_inPiece == _piece.Length && !_isAtEnd)
        {
            (_piece, _inPiece) = (Ask(-1, FrameStream.LargestPiece), 0);
            _isAtEnd = _piece.Length == 0;
        }
        return _piece.AsMemory(_inPiece);
    }

    private ReadOnlyMemory<byte> ReadAt(long position)
    {
        if (position >= length)
            return default;
        var number = position / FrameStream.LargestPiece;
        if (!_blocks.TryGetValue(number, out var block))
        {
            if (_order.Count == KeptBlocks)
                _blocks.Remove(_order.Dequeue());
            block = _blocks[number] = Ask(number * FrameStream.LargestPiece, FrameStream.LargestPiece);
            _order.Enqueue(number);
        }
        var start = (int)(position - number * FrameStream.LargestPiece);
        return start < block.Length ? block.AsMemory(start) : default;
    }

    private byte[] Ask(long position, int count)
    {
        Span<byte> what = stackalloc byte[12];
        BinaryPrimitives.WriteInt64LittleEndian(what, position);
        BinaryPrimitives.WriteInt32LittleEndian(what[8..], count);
        frames.Write(FrameKind.Need, what);
        frames.Flush();
        return frames.Read() == FrameKind.Bytes ? frames.Content.ToArray() : throw new WorkerStoppedException();
    }
}
