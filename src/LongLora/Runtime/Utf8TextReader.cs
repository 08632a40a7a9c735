using System.Buffers;
using System.Text.Unicode;

namespace LongLora.Runtime;

/// <summary>
/// Reads UTF-8 strictly: a wrong byte is an error that gives its position in the file. <see cref="StreamReader"/> cannot tell the position,
/// because it decodes block by block. A byte order mark is removed; line ends do not change. UTF-16 and UTF-32 are read if the file begins
/// with their byte order mark.
/// </summary>
internal sealed class Utf8TextReader(Stream stream, string origin) : TextReader
{
    private readonly Utf8Stream _stream = new(stream, origin);
    private readonly byte[] _bytes = new byte[64 * 1024];
    private int _start,
        _end;
    private bool _begun,
        _ended;
    private long _offset,
        _line = 1;

    /// <summary>The whole text of a file that somebody wrote.</summary>
    /// <exception cref="DataException">It is not text, or cannot be read.</exception>
    public static string ReadFile(string path)
    {
        try
        {
            using var reader = new Utf8TextReader(File.OpenRead(path), path);
            return reader.ReadToEnd();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot read '{path}': {e.Message}", e);
        }
    }

    /// <summary>Reads at least one character, or returns 0 at the end.</summary>
    /// <param name="buffer">At least two characters, so that a surrogate pair fits.</param>
    public override int Read(Span<char> buffer)
    {
        if (!_begun)
            Begin();
        while (true)
        {
            var status = Utf8.ToUtf16(_bytes.AsSpan(_start, _end - _start), buffer, out var read, out var written, false, _ended);
            _start += read;
            _offset += read;
            // The text before a wrong byte is returned first; the next call then fails at the byte.
            if (written > 0)
            {
                _line += buffer[..written].Count('\n');
                return written;
            }
            if (status == OperationStatus.InvalidData)
                throw new DataException(
                    $"Cannot read {origin}:{_line} as text because byte {_offset} (0x{_bytes[_start]:X2}) is not UTF-8. Convert the "
                        + "text to UTF-8."
                );
            if (_ended)
                return 0;
            Fill();
        }
    }

    public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _stream.Dispose();
        base.Dispose(disposing);
    }

    private void Begin()
    {
        _begun = true;
        Fill();
        if (_bytes.AsSpan(0, _end).StartsWith<byte>([0xEF, 0xBB, 0xBF]))
            _offset = _start = 3;
    }

    private void Fill()
    {
        _bytes.AsSpan(_start, _end - _start).CopyTo(_bytes);
        (_start, _end) = (0, _end - _start);
        var read = _stream.ReadAtLeast(_bytes.AsSpan(_end), _bytes.Length - _end, throwOnEndOfStream: false);
        _ended = read < _bytes.Length - _end;
        _end += read;
    }
}
