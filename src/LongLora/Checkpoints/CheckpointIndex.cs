using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary><c>model.safetensors.index.json</c>: which shard contains which tensor.</summary>
internal static class CheckpointIndex
{
    private static readonly JsonSerializerOptions s_style = new()
    {
        WriteIndented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The text of an index.</summary>
    /// <param name="totalBytes">Bytes of all tensors together.</param>
    /// <param name="shardOf">File name of each tensor's shard.</param>
    public static string Format(long totalBytes, SortedDictionary<string, string> shardOf) =>
        JsonSerializer.Serialize(new { metadata = new { total_size = totalBytes }, weight_map = shardOf }, s_style) + "\n";

    /// <summary>The file name of each tensor's shard.</summary>
    /// <exception cref="CheckpointException">The file is not such an index, or it names a file outside its folder.</exception>
    public static Dictionary<string, string> Read(string path)
    {
        try
        {
            using var document = WholeJson.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (
                document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("weight_map", out var map)
                || map.ValueKind != JsonValueKind.Object
                || map.GetPropertyCount() == 0
            )
                throw new CheckpointException($"{path} must contain a weight_map, an object that maps tensor names to file names.");
            return map.EnumerateObject().ToDictionary(p => p.Name, p => ReadFileName(path, p), StringComparer.Ordinal);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{path} is not valid JSON: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    private static string ReadFileName(string path, JsonProperty entry)
    {
        var name = entry.Value.ValueKind == JsonValueKind.String ? entry.Value.GetString()! : "";
        return name.Length > 0 && name is not ("." or "..") && !name.AsSpan().ContainsAny('/', '\\', ':')
            ? name
            : throw new CheckpointException(
                $"{path}: '{entry.Name}' is in {entry.Value.GetRawText()}, which is not the name of a file next to the index."
            );
    }
}
