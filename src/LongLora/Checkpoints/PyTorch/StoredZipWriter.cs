using System.IO.Hashing;
using System.Text;

namespace LongLora.Checkpoints;

/// <summary>
/// Writes a zip archive whose members are stored without compression and begin at multiples of 64 bytes, as in PyTorch, so that they can be
/// mapped. Sizes and offsets of 4 GiB or more are written to zip64 fields.
/// </summary>
/// <param name="target">Where to write. It must be seekable and at its start.</param>
/// <param name="wide">The smallest number that uses zip64 fields; smaller only in tests.</param>
internal sealed class StoredZipWriter(Stream target, long wide = uint.MaxValue)
{
    private const int Alignment = 64,
        LocalBytes = 30,
        ChecksumOffset = 14;
    private const ushort FirstDay = 0x0021,
        PaddingField = 0x4246,
        Wide64Field = 1; // 1 January 1980: the same tensors give the same bytes
    private readonly List<(byte[] Name, uint Sum, long Bytes, long Offset)> _members = [];

    /// <summary>Adds a member of known length.</summary>
    /// <param name="name">ASCII name.</param>
    /// <param name="bytes">Its length.</param>
    /// <param name="write">Gets a sink and must write exactly that many bytes to it.</param>
    public void Add(string name, long bytes, Action<Action<ReadOnlySpan<byte>>> write)
    {
        var (encoded, start) = (Encoding.ASCII.GetBytes(name), target.Position);
        Write(w => WriteLocal(w, encoded, bytes, start));
        var (checksum, written) = (new Crc32(), 0L);
        write(piece =>
        {
            target.Write(piece);
            checksum.Append(piece);
            written += piece.Length;
        });
        if (written != bytes)
            throw new InvalidOperationException($"'{name}' was announced with {bytes} bytes, but {written} were written.");
        var end = target.Position;
        var sum = checksum.GetCurrentHashAsUInt32();
        target.Position = start + ChecksumOffset;
        Write(w => w.Write(sum));
        target.Position = end;
        _members.Add((encoded, sum, bytes, start));
    }

    /// <summary>Adds a small member.</summary>
    public void Add(string name, byte[] content) => Add(name, content.Length, sink => sink(content));

    /// <summary>Writes the table. Nothing can be added afterwards.</summary>
    public void Finish()
    {
        var start = target.Position;
        foreach (var (name, sum, bytes, offset) in _members)
            Write(w => WriteCentral(w, name, sum, bytes, offset));
        var (end, length) = (target.Position, target.Position - start);
        var isWide = start >= wide || length >= wide || _members.Count >= Math.Min(wide, ushort.MaxValue);
        Write(w =>
        {
            if (isWide)
                WriteEnd64(w, start, length, end);
            w.Write(StoredZip.EndSignature);
            w.Write(0);
            w.Write(isWide ? ushort.MaxValue : (ushort)_members.Count);
            w.Write(isWide ? ushort.MaxValue : (ushort)_members.Count);
            w.Write(isWide ? uint.MaxValue : (uint)length);
            w.Write(isWide ? uint.MaxValue : (uint)start);
            w.Write((ushort)0);
        });
    }

    private void WriteLocal(BinaryWriter w, byte[] name, long bytes, long start)
    {
        var isWide = bytes >= wide;
        var fixedBytes = LocalBytes + name.Length + (isWide ? 20 : 0) + 4;
        var padding = (int)((Alignment - (start + fixedBytes) % Alignment) % Alignment);
        w.Write(StoredZip.LocalSignature);
        WriteCommon(w, isWide, 0, isWide ? uint.MaxValue : (uint)bytes);
        w.Write((ushort)name.Length);
        w.Write((ushort)(fixedBytes - LocalBytes - name.Length + padding));
        w.Write(name);
        if (isWide)
        {
            w.Write(Wide64Field);
            w.Write((ushort)16);
            w.Write(bytes);
            w.Write(bytes);
        }
        w.Write(PaddingField);
        w.Write((ushort)padding);
        w.Write(new byte[padding]);
    }

    private void WriteCentral(BinaryWriter w, byte[] name, uint sum, long bytes, long offset)
    {
        var (isWide, isFar) = (bytes >= wide, offset >= wide);
        var extra = (isWide ? 16 : 0) + (isFar ? 8 : 0);
        w.Write(StoredZip.CentralSignature);
        w.Write((ushort)45);
        WriteCommon(w, isWide || isFar, sum, isWide ? uint.MaxValue : (uint)bytes);
        w.Write((ushort)name.Length);
        w.Write((ushort)(extra > 0 ? extra + 4 : 0));
        w.Write((ushort)0);
        w.Write((ushort)0);
        w.Write((ushort)0);
        w.Write(0);
        w.Write(isFar ? uint.MaxValue : (uint)offset);
        w.Write(name);
        if (extra == 0)
            return;
        w.Write(Wide64Field);
        w.Write((ushort)extra);
        if (isWide)
        {
            w.Write(bytes);
            w.Write(bytes);
        }
        if (isFar)
            w.Write(offset);
    }

    // Required version, flags, method, time, date, checksum, both sizes.
    private static void WriteCommon(BinaryWriter w, bool isWide, uint sum, uint bytes)
    {
        w.Write((ushort)(isWide ? 45 : 20));
        w.Write((ushort)0);
        w.Write((ushort)0);
        w.Write((ushort)0);
        w.Write(FirstDay);
        w.Write(sum);
        w.Write(bytes);
        w.Write(bytes);
    }

    private void WriteEnd64(BinaryWriter w, long start, long length, long end)
    {
        w.Write(StoredZip.End64Signature);
        w.Write(44L);
        w.Write((ushort)45);
        w.Write((ushort)45);
        w.Write(0);
        w.Write(0);
        w.Write((long)_members.Count);
        w.Write((long)_members.Count);
        w.Write(length);
        w.Write(start);
        w.Write(StoredZip.Locator64Signature);
        w.Write(0);
        w.Write(end);
        w.Write(1);
    }

    private void Write(Action<BinaryWriter> write)
    {
        using var writer = new BinaryWriter(target, Encoding.ASCII, leaveOpen: true);
        write(writer);
    }
}
