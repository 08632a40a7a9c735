using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>What one file contributed to a corpus.</summary>
internal sealed record SourceRecord
{
    /// <summary>Name of the file, see <see cref="CorpusSource.Name"/>.</summary>
    public required string Name { get; init; }

    /// <summary>Bytes of the file.</summary>
    public required long Length { get; init; }

    /// <summary>Its last change, in ticks of UTC.</summary>
    public required long Modified { get; init; }

    /// <summary>Number of documents in it that are not empty.</summary>
    public long Documents { get; init; }

    /// <summary>Characters (UTF-16) of their texts.</summary>
    public long Characters { get; init; }

    /// <summary>Number of their tokens; 0 without a tokenizer.</summary>
    public long Tokens { get; init; }

    /// <summary>Bytes that they take in the corpus file.</summary>
    public long Bytes { get; init; }

    /// <summary>Their lengths, see <see cref="LengthHistogram.ToNumbers"/>.</summary>
    public long[] Lengths { get; init; } = [0];

    /// <summary>Why the file could not be read; null if it could.</summary>
    public string? Error { get; init; }

    /// <summary>Whether this describes the file in its current state.</summary>
    public bool IsOf(CorpusSource source) => Name == source.Name && Length == source.Length && Modified == source.Modified && Error is null;
}

/// <summary>
/// <c>manifest.json</c> of a corpus: how it was made, and what each file contributed, in the order of the corpus. It is written last and
/// deleted before the corpus is replaced, so an existing manifest always describes the corpus beside it.
/// </summary>
/// <param name="Settings">What the corpus depends on besides the files.</param>
/// <param name="Files">What each file contributed.</param>
internal sealed record CorpusManifest(string Settings, IReadOnlyList<SourceRecord> Files)
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Reads a manifest; null if it does not exist or is damaged.</summary>
    public static CorpusManifest? Read(string path)
    {
        if (!File.Exists(path))
            return null;
        try
        {
            using var stream = File.OpenRead(path);
            var manifest = JsonSerializer.Deserialize<CorpusManifest>(stream, s_json);
            return manifest?.Files is null || manifest.Settings is null ? null : manifest;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Writes it with one file per line.</summary>
    public void Write(string path) => AtomicFile.Write(path, stream =>
        {
            using var writer = new StreamWriter(stream, leaveOpen: true);
            writer.Write($"{{\"settings\":{JsonSerializer.Serialize(Settings, s_json)},\"files\":[\n");
            for (var i = 0; i < Files.Count; i++)
                writer.Write(JsonSerializer.Serialize(Files[i], s_json) + (i < Files.Count - 1 ? ",\n" : "\n"));
            writer.Write("]}\n");
        });
}
