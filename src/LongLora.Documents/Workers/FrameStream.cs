using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace LongLora.Documents.Workers;

/// <summary>
/// Frames over two pipes: a kind, a length of 4 bytes, and that many bytes. Texts are UTF-16, so that they arrive unchanged.
/// </summary>
/// <param name="input">The pipe to read from.</param>
/// <param name="output">The pipe to write to.</param>
internal sealed class FrameStream(Stream input, Stream output)
{
    /// <summary>The most bytes of one frame, except for a record.</summary>
    public const int LargestPiece = 1 << 18;

    private const int LargestFrame = 1 << 29;

    private readonly byte[] _head = new byte[5],
        _buffer = new byte[1 << 16],
        _pending = new byte[1 << 16];
    private byte[] _content = new byte[1 << 12];
    private int _at,
        _end,
        _count;
    private bool _hasHead;

    /// <summary>The content of the frame that was read last. Valid until the next one is read.</summary>
    public ReadOnlyMemory<byte> Content { get; private set; }

    /// <summary>The content as a text.</summary>
    public string ContentText => new(MemoryMarshal.Cast<byte, char>(Content.Span));

    /// <summary>Reads the next frame.</summary>
    /// <exception cref="EndOfStreamException">The other side has ended.</exception>
    public FrameKind Read()
    {
        Peek();
        _hasHead = false;
        var length = BinaryPrimitives.ReadInt32LittleEndian(_head.AsSpan(1));
        if (length is < 0 or > LargestFrame)
            throw new EndOfStreamException();
        if (_content.Length < length)
            _content = new byte[Math.Max(length, 2 * _content.Length)];
        Fill(_content.AsSpan(0, length));
        Content = _content.AsMemory(0, length);
        return (FrameKind)_head[0];
    }

    /// <summary>Waits for the next frame and says what it will be. The content of the last one stays valid.</summary>
    /// <exception cref="EndOfStreamException">The other side has ended.</exception>
    public FrameKind Peek()
    {
        if (!_hasHead)
            Fill(_head);
        _hasHead = true;
        return (FrameKind)_head[0];
    }

    /// <summary>Writes a frame, which may wait for <see cref="Flush"/>.</summary>
    public void Write(FrameKind kind, ReadOnlySpan<byte> content = default)
    {
        Span<byte> head = [(byte)kind, 0, 0, 0, 0];
        BinaryPrimitives.WriteInt32LittleEndian(head[1..], content.Length);
        Keep(head);
        Keep(content);
    }

    /// <summary>Writes a frame with a text.</summary>
    public void Write(FrameKind kind, ReadOnlySpan<char> text) => Write(kind, MemoryMarshal.AsBytes(text));

    /// <summary>Sends what was written.</summary>
    public void Flush()
    {
        output.Write(_pending.AsSpan(0, _count));
        output.Flush();
        _count = 0;
    }

    private void Keep(ReadOnlySpan<byte> bytes)
    {
        if (_count + bytes.Length > _pending.Length)
            Flush();
        if (bytes.Length > _pending.Length)
        {
            output.Write(bytes);
            return;
        }
        bytes.CopyTo(_pending.AsSpan(_count));
        _count += bytes.Length;
    }

    private void Fill(Span<byte> target)
    {
        while (target.Length > 0)
        {
            if (_at == _end)
            {
                (_at, _end) = (0, input.Read(_buffer));
                if (_end == 0)
                    throw new EndOfStreamException();
            }
            var count = Math.Min(target.Length, _end - _at);
            _buffer.AsSpan(_at, count).CopyTo(target);
            _at += count;
            target = target[count..];
        }
    }
}
