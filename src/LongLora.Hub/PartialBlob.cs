using System.Text.Json;
using LongLora.Runtime;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Hub;

/// <summary>
/// A blob of which some ranges have come: <c>HASH.longlora.incomplete</c> has the bytes at their places, and <c>HASH.longlora.ranges</c>
/// says which are there. The name is not that of Hugging Face's programs, which take the length of a file for what has come.
/// </summary>
internal sealed class PartialBlob : IDisposable
{
    private const long SavePause = 1000; // milliseconds

    private readonly string _rangesFile;
    private readonly long _size;
    private readonly long[] _done; // bytes from the start of each range
    private readonly SafeFileHandle _handle;
    private readonly Lock _lock = new();
    private long _saved = Environment.TickCount64;

    private PartialBlob(string blob, long size, long rangeBytes)
    {
        (Path, _rangesFile, _size, RangeBytes) = (GetPath(blob), GetRangesPath(blob), size, rangeBytes);
        var known = ReadRanges(blob, size, rangeBytes);
        _done = known ?? new long[CountRanges(size, rangeBytes)];
        _handle = File.OpenHandle(Path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        IsResumed = _done.Any(d => d > 0);
        if (known is null)
            RandomAccess.SetLength(_handle, size);
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Bytes of a range; the last one may be shorter.</summary>
    public long RangeBytes { get; }

    /// <summary>Whether some of it came in an earlier attempt.</summary>
    public bool IsResumed { get; }

    /// <summary>Bytes that are there.</summary>
    public long DoneBytes => _done.Sum();

    /// <summary>The ranges of which something is missing.</summary>
    public IReadOnlyList<int> Missing => [.. Enumerable.Range(0, _done.Length).Where(i => Next(i) < End(i))];

    /// <summary>Opens what is there, or makes a new one. What does not fit is thrown away.</summary>
    /// <param name="blob">Path of the blob that it will be.</param>
    /// <param name="size">Its bytes.</param>
    /// <param name="rangeBytes">Bytes of a range.</param>
    /// <exception cref="ConfigurationException">It cannot be written.</exception>
    public static PartialBlob Open(string blob, long size, long rangeBytes)
    {
        PartialBlob? opened = null;
        AtomicFile.Guard(blob, () => opened = new PartialBlob(blob, size, rangeBytes));
        return opened!;
    }

    /// <summary>Bytes of a blob that have come.</summary>
    public static long CountDone(string blob, long size, long rangeBytes) => ReadRanges(blob, size, rangeBytes)?.Sum() ?? 0;

    /// <summary>The first byte of a range that is missing.</summary>
    public long Next(int range) => (range * RangeBytes) + _done[range];

    /// <summary>The end of a range: the first byte behind it.</summary>
    public long End(int range) => Math.Min(_size, (range + 1) * RangeBytes);

    /// <summary>Writes the next bytes of a range.</summary>
    /// <exception cref="ConfigurationException">The disk refuses.</exception>
    public void Append(int range, ReadOnlyMemory<byte> bytes)
    {
        AtomicFile.Guard(Path, () => RandomAccess.Write(_handle, bytes.Span, Next(range)));
        _done[range] += bytes.Length;
        // Now and then, for a process that is killed.
        if (Environment.TickCount64 - Interlocked.Read(ref _saved) >= SavePause)
            SaveRanges();
    }

    /// <summary>Writes down which bytes are there.</summary>
    public void SaveRanges()
    {
        Interlocked.Exchange(ref _saved, Environment.TickCount64);
        lock (_lock)
            AtomicFile.WriteText(_rangesFile, JsonSerializer.Serialize(new[] { _size, RangeBytes }.Concat(_done)));
    }

    /// <summary>Makes it the blob: flushed, and under its name at once.</summary>
    public void Finish(string blob) => AtomicFile.Guard(blob, () =>
        {
            DurableFile.Sync(_handle, Path);
            _handle.Dispose();
            File.Move(Path, blob, overwrite: true);
            DurableFile.SyncDirectory(System.IO.Path.GetDirectoryName(blob)!);
            File.Delete(_rangesFile);
        });

    /// <summary>Throws away what has come.</summary>
    public void Discard()
    {
        _handle.Dispose();
        AtomicFile.Guard(Path, () =>
        {
            File.Delete(_rangesFile);
            File.Delete(Path);
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static string GetPath(string blob) => blob + ".longlora.incomplete";

    private static string GetRangesPath(string blob) => blob + ".longlora.ranges";

    private static long CountRanges(long size, long rangeBytes) => Math.Max(1, (size + rangeBytes - 1) / rangeBytes);

    // Null where nothing has come, or what is there does not fit.
    private static long[]? ReadRanges(string blob, long size, long rangeBytes)
    {
        try
        {
            if (!File.Exists(GetRangesPath(blob)) || new FileInfo(GetPath(blob)) is not { Exists: true } file || file.Length != size)
                return null;
            var saved = JsonSerializer.Deserialize<long[]>(File.ReadAllText(GetRangesPath(blob)));
            return
                saved is { Length: > 2 }
                && saved[0] == size
                && saved[1] == rangeBytes
                && saved.Length == CountRanges(size, rangeBytes) + 2
                && saved[2..].Index().All(r => r.Item >= 0 && r.Item <= Math.Min(rangeBytes, size - (r.Index * rangeBytes)))
                ? saved[2..]
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }
}
