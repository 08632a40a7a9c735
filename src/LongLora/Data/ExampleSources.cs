using System.Runtime.InteropServices;
using ICSharpCode.SharpZipLib;
using ICSharpCode.SharpZipLib.GZip;
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
            var files = FilesBelow(path).Where(f => Extensions.Contains(Extension(f))).Order(StringComparer.Ordinal).ToList();
            return files.Count > 0 ? files : throw new DataException(
                $"The folder '{path}' holds no file that can be read ({string.Join(", ", Extensions)}, gzipped or not).");
        }
        if (!File.Exists(path))
            throw new DataException($"There is no file or folder '{path}'.");
        return Extensions.Contains(Extension(path)) ? [path] : throw new DataException(
            $"'{path}' is of a kind that cannot be read; use {string.Join(", ", Extensions)}, gzipped or not.");
    }

    // Links to files are followed, links to folders are not: one may lead back here.
    private static List<string> FilesBelow(string folder)
    {
        try
        {
            var everything = new EnumerationOptions { AttributesToSkip = FileAttributes.None, IgnoreInaccessible = false };
            var files = Directory.EnumerateFiles(folder, "*", everything).ToList();
            foreach (var below in new DirectoryInfo(folder).EnumerateDirectories("*", everything))
            {
                if (below.LinkTarget is null)
                    files.AddRange(FilesBelow(Path.Combine(folder, below.Name)));
            }
            return files;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot list '{folder}': {e.Message}", e);
        }
    }

    private static bool IsGzip(string path) => path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase);

    private static string Extension(string path) =>
        Path.GetExtension(IsGzip(path) ? path[..^3] : path).ToLowerInvariant();

    private static bool IsTokens(string path) => Extension(path) == ".bin";

    // Not GZipStream: it takes a file that is cut off for a whole one, and training would go on with the half.
    private static Stream OpenFile(string path)
    {
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan);
        return IsGzip(path) ? new GZipInputStream(file, 1 << 16) : file;
    }

    private sealed class FileSource(List<string> files, ITokenizer? tokenizer, int vocabularySize) : IExampleSource
    {
        private readonly DocumentTokenizer? _tokenizer = tokenizer is null ? null : new DocumentTokenizer(tokenizer);

        public IEnumerable<TrainingExample> Read(CancellationToken cancellation)
        {
            foreach (var file in files)
            {
                var read = IsTokens(file) ? ReadTokens(file) : s_lines.Contains(Extension(file)) ? ReadLines(file) : ReadText(file);
                using var documents = read.GetEnumerator();
                while (Next(documents, file))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (documents.Current.Ids.Count > 0)
                        yield return documents.Current;
                }
            }
        }

        private static bool Next(IEnumerator<TrainingExample> documents, string file)
        {
            try
            {
                return documents.MoveNext();
            }
            catch (Exception e) when (IsGzip(file) && e is SharpZipBaseException or EndOfStreamException)
            {
                throw new DataException($"{file} is not a whole gzip file: {e.Message}", e);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new DataException($"Cannot read '{file}': {e.Message}", e);
            }
        }

        private IEnumerable<TrainingExample> ReadText(string file)
        {
            using var reader = new Utf8TextReader(OpenFile(file), file);
            foreach (var piece in Encode(reader, file))
                yield return piece;
        }

        private IEnumerable<TrainingExample> ReadLines(string file)
        {
            using var stream = OpenFile(file);
            foreach (var (text, origin) in JsonLines.Read(stream, file))
                foreach (var piece in Encode(new StringReader(text), origin))
                    yield return piece;
        }

        // A long text comes in pieces, the first of which begins the document.
        private IEnumerable<TrainingExample> Encode(TextReader text, string origin)
        {
            var continues = false;
            foreach (var ids in _tokenizer!.Encode(text))
            {
                foreach (var id in ids)
                {
                    if (id >= vocabularySize)
                        throw new DataException($"{origin}: the tokenizer gives id {id}, but the model has {vocabularySize} ids. Tokenizer and model do not belong together.");
                }
                yield return new TrainingExample(ids, null, origin) { IsPiece = continues };
                continues = true;
            }
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
