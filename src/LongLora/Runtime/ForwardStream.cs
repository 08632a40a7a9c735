namespace LongLora.Runtime;

/// <summary>A stream that can only be read from start to end. What it gives comes from <see cref="Stream.Read(Span{byte})"/>.</summary>
/// <param name="inner">Where that comes from.</param>
/// <param name="isOwner">Whether <paramref name="inner"/> is disposed with it.</param>
internal abstract class ForwardStream(Stream inner, bool isOwner = true) : Stream
{
    /// <summary>Where the bytes come from.</summary>
    protected Stream Inner { get; } = inner;

    /// <inheritdoc/>
    public sealed override bool CanRead => true;

    /// <inheritdoc/>
    public sealed override bool CanSeek => false;

    /// <inheritdoc/>
    public sealed override bool CanWrite => false;

    /// <inheritdoc/>
    public sealed override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public abstract override int Read(Span<byte> buffer);

    /// <inheritdoc/>
    public sealed override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public sealed override void Flush() { }

    /// <inheritdoc/>
    public sealed override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public sealed override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && isOwner)
            Inner.Dispose();
        base.Dispose(disposing);
    }
}
