using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Opens the files of a tokenizer. Every failure is a <see cref="CheckpointException"/> that names the file.</summary>
internal static class TokenizerFiles
{
    // The largest files in use have 35 MB.
    private const long LargestFile = 512L << 20;

    /// <summary>The bytes of a file.</summary>
    public static byte[] ReadAllBytes(string path)
    {
        using var stream = Open(path);
        if (stream.Length > LargestFile)
            throw new CheckpointException(
                $"{path} has {stream.Length} bytes, but a tokenizer has at most {LargestFile}. Download the file again."
            );
        try
        {
            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
        catch (IOException e)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>A file, open for reading.</summary>
    public static FileStream Open(string path)
    {
        try
        {
            return File.OpenRead(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>A file as JSON; its root is an object.</summary>
    public static JsonDocument ReadJson(string path)
    {
        JsonDocument document;
        try
        {
            var bytes = ReadAllBytes(path).AsMemory();
            // Some editors write a byte order mark at the start.
            document = WholeJson.Parse(bytes.Span is [0xEF, 0xBB, 0xBF, ..] ? bytes[3..] : bytes);
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{path} is damaged or not JSON: {e.Message} Download the file again.", e);
        }
        if (document.RootElement.ValueKind == JsonValueKind.Object)
            return document;
        document.Dispose();
        throw new CheckpointException($"{path} is not a JSON object. Download the file again.");
    }

    /// <summary>A file as JSON; null if it does not exist.</summary>
    public static JsonDocument? ReadJsonIfPresent(string path) => File.Exists(path) ? ReadJson(path) : null;
}
