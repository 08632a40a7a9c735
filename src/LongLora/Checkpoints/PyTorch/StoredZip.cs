using System.Buffers.Binary;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Locates the members of a zip archive whose members are stored without compression. It reads and checks the table at the end of the
/// archive (PKWARE APPNOTE 4.3, including zip64) without reading the members.
/// </summary>
internal sealed class StoredZip
{
    internal const uint LocalSignature = 0x04034B50,
        CentralSignature = 0x02014B50,
        EndSignature = 0x06054B50,
        End64Signature = 0x06064B50,
        Locator64Signature = 0x07064B50;

    private const int LocalBytes = 30,
        CentralBytes = 46,
        EndBytes = 22,
        End64Bytes = 56,
        Locator64Bytes = 20,
        MaxCommentBytes = 65535;

    /// <summary>The longest table that is read: 100 MB, one million members.</summary>
    private const long MaxTableBytes = 100_000_000;

    private readonly Dictionary<string, (long Offset, long Bytes)> _members = new(StringComparer.Ordinal);
    private readonly FileStream _stream;
    private readonly string _path;
    private readonly long _fileBytes;

    private StoredZip(FileStream stream, string path) => (_stream, _path, _fileBytes) = (stream, path, stream.Length);

    /// <summary>Offset and length of each member's data in the file.</summary>
    public IReadOnlyDictionary<string, (long Offset, long Bytes)> Members => _members;

    /// <summary>Reads the table.</summary>
    /// <exception cref="CheckpointException">The archive is truncated or damaged, or a member is compressed or encrypted.</exception>
    public static StoredZip Read(FileStream stream, string path)
    {
        var zip = new StoredZip(stream, path);
        zip.ReadTable();
        return zip;
    }

    private void ReadTable()
    {
        var (offset, bytes, count) = FindTable();
        if (bytes > MaxTableBytes || count > bytes / CentralBytes)
            throw MakeError($"the archive claims a table of {count} members in {bytes} bytes");
        var table = new byte[bytes];
        ReadAt(offset, table);
        ReadOnlySpan<byte> left = table;
        for (var i = 0L; i < count; i++)
            left = left[ReadEntry(left)..];
    }

    /// <summary>Reads the end record, and the zip64 record if numbers do not fit into it.</summary>
    private (long Offset, long Bytes, long Count) FindTable()
    {
        var tail = new byte[(int)Math.Min(_fileBytes, EndBytes + MaxCommentBytes)];
        ReadAt(_fileBytes - tail.Length, tail);
        var at = tail.Length - EndBytes;
        while (at >= 0 && !IsEnd(tail, at))
            at--;
        if (at < 0)
            throw MakeError("the archive has no table at its end, so the file is truncated. Download it again");
        ReadOnlySpan<byte> end = tail.AsSpan(at);
        (long offset, long bytes, long count) = (ReadUint32(end, 16), ReadUint32(end, 12), ReadUint16(end, 10));
        var position = _fileBytes - tail.Length + at;
        if (offset == uint.MaxValue || bytes == uint.MaxValue || count == ushort.MaxValue)
            (offset, bytes, count, position) = FindTable64(position);
        if (offset < 0 || bytes < 0 || count < 0 || bytes > position || offset > position - bytes)
            throw MakeError($"the archive's table of {bytes} bytes at {offset} does not fit into the file of {_fileBytes} bytes");
        return (offset, bytes, count);
    }

    private static bool IsEnd(byte[] tail, int at) =>
        ReadUint32(tail.AsSpan(at), 0) == EndSignature && ReadUint16(tail.AsSpan(at), 20) == tail.Length - at - EndBytes;

    private (long Offset, long Bytes, long Count, long Position) FindTable64(long end)
    {
        if (end < Locator64Bytes + End64Bytes)
            throw MakeError("the archive's zip64 table is missing");
        var locator = new byte[Locator64Bytes];
        ReadAt(end - Locator64Bytes, locator);
        var at = ReadInt64(locator, 8);
        if (ReadUint32(locator, 0) != Locator64Signature || at < 0 || at > end - Locator64Bytes - End64Bytes)
            throw MakeError("the archive's zip64 table is missing");
        var record = new byte[End64Bytes];
        ReadAt(at, record);
        return ReadUint32(record, 0) == End64Signature
            ? (ReadInt64(record, 48), ReadInt64(record, 40), ReadInt64(record, 32), at)
            : throw MakeError("the archive's zip64 table is missing");
    }

    private int ReadEntry(ReadOnlySpan<byte> entry)
    {
        if (entry.Length < CentralBytes || ReadUint32(entry, 0) != CentralSignature)
            throw MakeError("the archive's table is damaged");
        int nameBytes = ReadUint16(entry, 28),
            extraBytes = ReadUint16(entry, 30),
            used = CentralBytes + nameBytes + extraBytes + ReadUint16(entry, 32);
        if (used > entry.Length)
            throw MakeError("the archive's table is damaged");
        var name = Encoding.UTF8.GetString(entry.Slice(CentralBytes, nameBytes));
        if ((ReadUint16(entry, 8) & 1) != 0)
            throw MakeError($"'{name}' in the archive is encrypted");
        (long stored, long bytes, long offset) = (ReadUint32(entry, 20), ReadUint32(entry, 24), ReadUint32(entry, 42));
        Widen(entry.Slice(CentralBytes + nameBytes, extraBytes), ref bytes, ref stored, ref offset);
        if (ReadUint16(entry, 10) != 0 || stored != bytes)
            throw MakeError(
                $"'{name}' in the archive is compressed, but PyTorch stores members without compression. Unpack the archive and "
                    + "pack it without compression, or save the model again"
            );
        if (!_members.TryAdd(name, (FindDataOffset(name, offset, bytes), bytes)))
            throw MakeError($"the archive contains '{name}' twice");
        return used;
    }

    /// <summary>Reads the numbers that are too large for the entry from extra field 1, in the order of that field.</summary>
    private static void Widen(ReadOnlySpan<byte> extra, ref long bytes, ref long stored, ref long offset)
    {
        while (extra.Length >= 4)
        {
            var length = Math.Min(ReadUint16(extra, 2), extra.Length - 4);
            if (ReadUint16(extra, 0) == 1)
            {
                var numbers = extra.Slice(4, length);
                Take(ref numbers, ref bytes);
                Take(ref numbers, ref stored);
                Take(ref numbers, ref offset);
                return;
            }
            extra = extra[(4 + length)..];
        }
    }

    private static void Take(ref ReadOnlySpan<byte> numbers, ref long number)
    {
        if (number != uint.MaxValue || numbers.Length < 8)
            return;
        number = ReadInt64(numbers, 0);
        numbers = numbers[8..];
    }

    // The local header repeats the name and has its own padding, so only it tells where the data begins.
    private long FindDataOffset(string name, long offset, long bytes)
    {
        Span<byte> local = stackalloc byte[LocalBytes];
        if (offset < 0 || bytes < 0 || offset > _fileBytes - LocalBytes)
            throw MakeError($"'{name}' is outside the file");
        ReadAt(offset, local);
        if (ReadUint32(local, 0) != LocalSignature)
            throw MakeError($"'{name}' is not where the archive's table says");
        var start = offset + LocalBytes + ReadUint16(local, 26) + ReadUint16(local, 28);
        return bytes <= _fileBytes - start
            ? start
            : throw MakeError(
                $"'{name}' claims {bytes} bytes from {start} on, but the file has {_fileBytes} bytes. It is damaged. Download it again"
            );
    }

    private void ReadAt(long position, Span<byte> target)
    {
        _stream.Position = position;
        _stream.ReadExactly(target);
    }

    private static int ReadUint16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint ReadUint32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static long ReadInt64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes[at..]);

    private CheckpointException MakeError(string what) => new($"{_path}: {what}.");
}
