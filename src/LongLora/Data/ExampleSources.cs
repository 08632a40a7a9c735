using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>Opens files and folders as documents: <c>.txt</c> and <c>.md</c>, <c>.jsonl</c> with <c>text</c>, token <c>.bin</c>, gzipped or not.</summary>
public static class ExampleSources
{
    private static readonly string[] s_text = [".txt", ".md", ".text"], s_lines = [".jsonl", ".ndjson"];

    /// <summary>Extensions that are read; a folder stands for all such files below it.</summary>
    public static IReadOnlyList<string> Extensions { get; } = [.. s_text, .. s_lines, ".bin"];

    /// <summary>All documents of some paths, in the order given; those of a folder in the order of their names (ordinal).</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="tokenizer">The model's tokenizer; null is enough for <c>.bin</c>.</param>
    /// <param name="vocabularySize">V: every id must be below it. A <c>.bin</c> holds uint16 up to 65,536 ids, uint32 above, as LongLoRA writes them.</param>
    /// <exception cref="DataException">A path is missing, a folder holds nothing readable, or text comes without a tokenizer.</exception>
    public static IExampleSource Open(IReadOnlyList<string> paths, ITokenizer? tokenizer, int vocabularySize)
    {
        var files = paths.SelectMany(Expand).ToList();
        if (tokenizer is null && files.Find(f => !IsTokens(f)) is { } text)
            throw new DataException($"'{text}' is text, but the model folder has no tokenizer.model or tokenizer.json. Add one, or give tokens as .bin.");
        return new FileSource(files, tokenizer, vocabularySize);
    }

    private static IEnumerable<string> Expand(string path)
    {
        if (Directory.Exists(path))
        {
            var files = Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
                .Where(f => Extensions.Contains(Extension(f))).Order(StringComparer.Ordinal).ToList();
            return files.Count > 0 ? files : throw new DataException(
                $"The folder '{path}' holds no file that can be read ({string.Join(", ", Extensions)}, gzipped or not).");
        }
        if (!File.Exists(path))
            throw new DataException($"There is no file or folder '{path}'.");
        return Extensions.Contains(Extension(path)) ? [path] : throw new DataException(
            $"'{path}' is of a kind that cannot be read; use {string.Join(", ", Extensions)}, gzipped or not.");
    }

    private static bool IsGzip(string path) => path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);

    private static string Extension(string path) =>
        Path.GetExtension(IsGzip(path) ? path[..^3] : path).ToLowerInvariant();

    private static bool IsTokens(string path) => Extension(path) == ".bin";

    private static Stream OpenFile(string path)
    {
        try
        {
            var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan);
            return IsGzip(path) ? new GZipStream(file, CompressionMode.Decompress) : file;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot read '{path}': {e.Message}", e);
        }
    }

    private sealed class FileSource(List<string> files, ITokenizer? tokenizer, int vocabularySize) : IExampleSource
    {
        private static readonly UTF8Encoding s_strict = new(false, throwOnInvalidBytes: true);

        public IEnumerable<TrainingExample> Read(CancellationToken cancellation)
        {
            foreach (var file in files)
            {
                var documents = IsTokens(file) ? ReadTokens(file) : s_lines.Contains(Extension(file)) ? ReadLines(file) : ReadText(file);
                foreach (var document in documents)
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (document.Ids.Count > 0)
                        yield return document;
                }
            }
        }

        private IEnumerable<TrainingExample> ReadText(string file)
        {
            string text;
            try
            {
                using var reader = new StreamReader(OpenFile(file), s_strict);
                text = reader.ReadToEnd();
            }
            catch (DecoderFallbackException e)
            {
                throw new DataException($"{file}: byte {e.Index} is not UTF-8. Convert the file to UTF-8.", e);
            }
            catch (InvalidDataException e)
            {
                throw new DataException($"{file} is not a sound gzip file: {e.Message}", e);
            }
            yield return Encode(text, file);
        }

        private IEnumerable<TrainingExample> ReadLines(string file)
        {
            using var reader = new StreamReader(OpenFile(file), s_strict);
            for (var line = 1; ; line++)
            {
                var origin = $"{file}:{line}";
                string? text;
                try
                {
                    text = reader.ReadLine();
                }
                catch (Exception e) when (e is DecoderFallbackException or InvalidDataException)
                {
                    throw new DataException($"{origin}: {e.Message}", e);
                }
                if (text is null)
                    yield break;
                if (text.Length > 0)
                    yield return Encode(TextField(text, origin), origin);
            }
        }

        private static string TextField(string line, string origin)
        {
            try
            {
                using var json = JsonDocument.Parse(line);
                if (json.RootElement.ValueKind != JsonValueKind.Object)
                    throw new DataException($"{origin}: a JSON object with 'text' is expected; seen {json.RootElement.ValueKind}.");
                if (!json.RootElement.TryGetProperty("text", out var text))
                {
                    var names = string.Join(", ", json.RootElement.EnumerateObject().Select(p => p.Name));
                    throw new DataException($"{origin}: there is no field 'text'; the fields are {names}.");
                }
                return text.ValueKind == JsonValueKind.String ? text.GetString()!
                    : throw new DataException($"{origin}: 'text' is {text.ValueKind}; it must be a string.");
            }
            catch (JsonException e)
            {
                throw new DataException($"{origin}: not valid JSON: {e.Message}", e);
            }
        }

        private TrainingExample Encode(string text, string origin)
        {
            if (text.Length == 0)
                return new TrainingExample([], null, origin);
            var ids = tokenizer!.Encode(text, addSpecial: true);
            foreach (var id in ids)
            {
                if (id >= vocabularySize)
                    throw new DataException($"{origin}: the tokenizer gives id {id}, but the model has {vocabularySize} ids. Tokenizer and model do not belong together.");
            }
            return new TrainingExample(ids, null, origin);
        }

        // A stream of tokens has no documents: it is handed on in pieces without anything between them.
        private IEnumerable<TrainingExample> ReadTokens(string file)
        {
            const int pieceTokens = 1 << 20;
            var size = vocabularySize <= 65536 ? 2 : 4;
            using var stream = OpenFile(file);
            var buffer = new byte[pieceTokens * size];
            for (long position = 0; ;)
            {
                var count = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
                if (count % size != 0)
                    throw new DataException($"{file} has {position * size + count} bytes, which is no multiple of {size}: tokens are uint{size * 8} for a vocabulary of {vocabularySize}.");
                if (count == 0)
                    yield break;
                var ids = new int[count / size];
                for (var i = 0; i < ids.Length; i++)
                {
                    var id = size == 2 ? MemoryMarshal.Cast<byte, ushort>(buffer)[i] : MemoryMarshal.Cast<byte, uint>(buffer)[i];
                    if (id >= vocabularySize)
                        throw new DataException($"{file}: token {position + i} is {id}, but the model has {vocabularySize} ids. It was made with another tokenizer, or its tokens are not uint{size * 8}.");
                    ids[i] = (int)id;
                }
                yield return new TrainingExample(ids, null, file) { IsPiece = true };
                position += ids.Length;
            }
        }
    }
}
