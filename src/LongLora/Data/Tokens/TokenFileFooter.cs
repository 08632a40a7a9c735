using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// The end of a token file, which describes what comes before it: tokens (uint16 or int32), document records, and spans to be learned, each
/// starting at a multiple of 8 bytes. Then come this footer as JSON, its XxHash128, its length as int32, and eight letters. Everything is
/// little-endian. Documents and spans are used directly in the mapped file.
/// </summary>
internal sealed record TokenFileFooter
{
    private const int HashBytes = 16;

    private static readonly byte[] s_magic = "LLTOKEN2"u8.ToArray();

    public required string Key { get; init; }

    public required long Count { get; init; }

    public required int TokenSize { get; init; }

    public required long DocumentsAt { get; init; }

    public required int DocumentCount { get; init; }

    public required long SpansAt { get; init; }

    public required int SpanCount { get; init; }

    public required bool HasLabels { get; init; }

    public required string Digest { get; init; }

    public required string LayoutDigest { get; init; }

    /// <summary>XxHash128 of the document records and the spans, in hexadecimal.</summary>
    public required string RecordsDigest { get; init; }

    public required IReadOnlyList<string> Origins { get; init; }

    public required IReadOnlyList<StoredCorpus> Corpora { get; init; }

    /// <summary>Sentences about what was done to the data. Files of earlier versions do not have them, and are made again.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>Where a document comes from.</summary>
    public string GetOrigin(DocumentRecord record) =>
        record.Number < 0 ? Origins[record.Origin] : $"{Origins[record.Origin]}:{record.Number}";

    public void Write(Stream stream)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(this);
        stream.Write(json);
        stream.Write(XxHash128.Hash(json));
        var length = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(length, json.Length);
        stream.Write(length);
        stream.Write(s_magic);
    }

    /// <summary>Reads the footer of a file that this program wrote.</summary>
    /// <exception cref="DataException">The file is incomplete or of another type.</exception>
    public static TokenFileFooter Read(FileStream file)
    {
        var tail = new byte[HashBytes + sizeof(int) + s_magic.Length];
        if (file.Length < tail.Length)
            throw MakeDamagedError(file);
        file.Position = file.Length - tail.Length;
        file.ReadExactly(tail);
        var length = BinaryPrimitives.ReadInt32LittleEndian(tail.AsSpan(HashBytes));
        if (!tail.AsSpan(HashBytes + sizeof(int)).SequenceEqual(s_magic) || length < 2 || length > file.Length - tail.Length)
            throw MakeDamagedError(file);
        file.Position = file.Length - tail.Length - length;
        var json = new byte[length];
        file.ReadExactly(json);
        if (!tail.AsSpan(0, HashBytes).SequenceEqual(XxHash128.Hash(json)))
            throw MakeDamagedError(file);
        try
        {
            var footer = JsonSerializer.Deserialize<TokenFileFooter>(json);
            return footer is not null && footer.HasLength(file.Length - tail.Length - length) ? footer : throw MakeDamagedError(file);
        }
        catch (JsonException)
        {
            throw MakeDamagedError(file);
        }
    }

    private unsafe bool HasLength(long bytes) =>
        TokenSize is sizeof(ushort) or sizeof(int)
        && Count >= 0
        && Count <= bytes / TokenSize
        && DocumentsAt >= Count * TokenSize
        && DocumentCount >= 0
        && DocumentsAt + (long)DocumentCount * sizeof(DocumentRecord) <= SpansAt
        && SpanCount >= 0
        && SpansAt + (long)SpanCount * sizeof(LearnedSpan) == bytes;

    private static DataException MakeDamagedError(FileStream file) =>
        new($"'{file.Name}' is not a whole token file of LongLora. Delete it.");
}
