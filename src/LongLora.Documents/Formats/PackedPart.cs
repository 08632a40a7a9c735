using System.IO.Compression;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>Opens a part of a document that is a zip file, and refuses one that is made to fill memory.</summary>
internal static class PackedPart
{
    /// <summary>Bytes that one part may have. The longest books have a few MB.</summary>
    public const long Largest = 256L << 20;

    // Text shrinks to a fifth, and the most repetitive tables to a fiftieth.
    private const long Harmless = 32 << 20,
        MostShrunk = 200;

    /// <summary>The bytes of a part, which are counted while they are read.</summary>
    /// <exception cref="DataException">It has too many bytes, or says so.</exception>
    public static Stream Open(ZipArchiveEntry part, string file)
    {
        Check(part, file);
        return new CountedStream(part, part.Open(), file);
    }

    /// <summary>Looks at what a part says of itself.</summary>
    /// <exception cref="DataException">It has too many bytes.</exception>
    public static void Check(ZipArchiveEntry part, string file)
    {
        if (part.Length > Largest)
            throw MakeError(part, file);
        if (part.Length > Harmless && part.Length > MostShrunk * part.CompressedLength)
            throw new DataException(
                $"Cannot read {file} because its part '{Shorten(part)}' has {part.Length >> 20} MiB that shrink to "
                    + $"{part.CompressedLength >> 10} KiB, which no document does. It is made to be harmful."
            );
    }

    private static string Shorten(ZipArchiveEntry part) => part.FullName.Length > 100 ? part.FullName[..100] + "..." : part.FullName;

    private static DataException MakeError(ZipArchiveEntry part, string file) =>
        new($"Cannot read {file} because its part '{Shorten(part)}' has more than {Largest >> 20} MiB. Split the document.");

    private sealed class CountedStream(ZipArchiveEntry part, Stream inner, string file) : ForwardStream(inner)
    {
        private long _count;

        public override int Read(Span<byte> buffer)
        {
            var count = Inner.Read(buffer);
            _count += count;
            return _count > Largest ? throw MakeError(part, file) : count;
        }
    }
}
