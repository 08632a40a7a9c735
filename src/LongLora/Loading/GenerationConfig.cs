using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Loading;

/// <summary>The <c>generation_config.json</c> of a model folder, of which only the ends of texts are used.</summary>
internal static class GenerationConfig
{
    private const string FileName = "generation_config.json",
        Field = "eos_token_id";

    /// <summary>The tokens that end a text; none if the file or the field is missing.</summary>
    /// <param name="folder">The model folder.</param>
    /// <exception cref="CheckpointException">The file is damaged, or the field is neither a token id nor a list of them.</exception>
    internal static IReadOnlyList<int> ReadEnds(string folder)
    {
        var file = Path.Combine(folder, FileName);
        if (!File.Exists(file))
            return [];
        try
        {
            using var document = WholeJson.Parse(File.ReadAllBytes(file));
            if (
                document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty(Field, out var ends)
                || ends.ValueKind == JsonValueKind.Null
            )
                return [];
            return ends.ValueKind == JsonValueKind.Array ? [.. ends.EnumerateArray().Select(id => ReadId(id, file))] : [ReadId(ends, file)];
        }
        catch (JsonException e)
        {
            throw new CheckpointException(
                $"Cannot read '{file}' because it is not JSON: {e.Message}. Get the file again, or remove it.",
                e
            );
        }
    }

    private static int ReadId(JsonElement id, string file) =>
        id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out var number) && number >= 0
            ? number
            : throw new CheckpointException(
                $"Cannot read {Field} of '{file}' because it contains {id.GetRawText()}. It must be a token id, or a list of them."
            );
}
