using System.Text;

namespace LongLora.Runtime;

/// <summary>
/// A text file as UTF-8: a file that begins with a byte order mark of UTF-16 or UTF-32 is converted while it is read, every other file
/// passes unchanged. Read-only, from start to end.
/// </summary>
internal sealed class Utf8Stream(Stream inner, string file) : ForwardStream(inner)
{
    private Stream? _utf8;

    public override int Read(Span<byte> buffer)
    {
        _utf8 ??= Open();
        try
        {
            return _utf8.Read(buffer);
        }
        catch (DecoderFallbackException e)
        {
            throw new DataException(
                $"Cannot read {file} because its byte order mark says UTF-16 or UTF-32, but its bytes are not. Convert it to UTF-8.",
                e
            );
        }
    }

    private Stream Open()
    {
        var head = new byte[4];
        var length = Inner.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        (Encoding? Encoding, int Mark) found = head.AsSpan(0, length) switch
        {
            [0xFF, 0xFE, 0, 0] => (new UTF32Encoding(bigEndian: false, byteOrderMark: false, throwOnInvalidCharacters: true), 4),
            [0, 0, 0xFE, 0xFF] => (new UTF32Encoding(bigEndian: true, byteOrderMark: false, throwOnInvalidCharacters: true), 4),
            [0xFF, 0xFE, ..] => (new UnicodeEncoding(bigEndian: false, byteOrderMark: false, throwOnInvalidBytes: true), 2),
            [0xFE, 0xFF, ..] => (new UnicodeEncoding(bigEndian: true, byteOrderMark: false, throwOnInvalidBytes: true), 2),
            _ => (null, 0),
        };
        var whole = new Rest(head.AsMemory(found.Mark, length - found.Mark), Inner);
        return found.Encoding is null ? whole : Encoding.CreateTranscodingStream(whole, found.Encoding, new UTF8Encoding(false, true));
    }

    /// <summary>What was read ahead, then the rest of the file.</summary>
    private sealed class Rest(ReadOnlyMemory<byte> head, Stream inner) : ForwardStream(inner, isOwner: false)
    {
        private ReadOnlyMemory<byte> _head = head;

        public override int Read(Span<byte> buffer)
        {
            if (_head.IsEmpty)
                return Inner.Read(buffer);
            var count = Math.Min(buffer.Length, _head.Length);
            _head.Span[..count].CopyTo(buffer);
            _head = _head[count..];
            return count;
        }
    }
}
