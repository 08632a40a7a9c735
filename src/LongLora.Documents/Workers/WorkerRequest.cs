using System.Text.Json;

namespace LongLora.Documents.Workers;

/// <summary>What a worker is asked to read.</summary>
/// <param name="Reader">The place of the reader in <see cref="DocumentFormats.All"/>.</param>
/// <param name="File">The name of the file, for messages, in the numbers of its UTF-16 units: a name may be no valid text.</param>
/// <param name="Length">Bytes of the file; null if it cannot be read from any place, such as one that is decompressed.</param>
/// <param name="Records">Whether records are wanted instead of documents.</param>
/// <param name="DocumentCharacters">Most characters of a document.</param>
internal sealed record WorkerRequest(int Reader, ushort[] File, long? Length, bool Records, long DocumentCharacters)
{
    public byte[] ToBytes() => JsonSerializer.SerializeToUtf8Bytes(this);

    public static WorkerRequest Parse(ReadOnlySpan<byte> bytes) => JsonSerializer.Deserialize<WorkerRequest>(bytes)!;
}
