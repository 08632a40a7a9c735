using ICSharpCode.SharpZipLib;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// What a decompressor gives. On damaged data decompressors fail in any way, such as with an index outside of a table; whatever it is, it
/// says here that the data is damaged. Read-only, from start to end.
/// </summary>
internal sealed class UnpackedStream(Stream inner) : ForwardStream(inner)
{
    public override int Read(Span<byte> buffer)
    {
        try
        {
            return Inner.Read(buffer);
        }
        catch (Exception e) when (e is not (SharpZipBaseException or ZstdSharp.ZstdException or IOException or OutOfMemoryException))
        {
            throw new EndOfStreamException("its content is damaged.", e);
        }
    }
}
