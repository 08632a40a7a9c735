using ICSharpCode.SharpZipLib;

namespace LongLora.Data;

/// <summary>
/// What a decompressor gives. On damaged data decompressors fail in any way, such as with an index outside of a table; whatever it is, it
/// says here that the data is damaged. Read-only, from start to end.
/// </summary>
internal sealed class UnpackedStream(Stream inner) : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count)
    {
        try
        {
            return inner.Read(buffer, offset, count);
        }
        catch (Exception e) when (e is not (SharpZipBaseException or ZstdSharp.ZstdException or IOException or OutOfMemoryException))
        {
            throw new EndOfStreamException("its content is damaged.", e);
        }
    }

    public override void Flush() { }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
        base.Dispose(disposing);
    }
}
