using System.Runtime.InteropServices;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Opens files and folders as tokenised documents: <c>.txt</c> and <c>.md</c>, <c>.jsonl</c> with <c>text</c>, token <c>.bin</c>, gzipped
/// or not, and what further readers know.
/// </summary>
public static class ExampleSources
{
    private const string Tokens = ".bin";

    /// <summary>Extensions that are read without further readers; a folder stands for all such files below it.</summary>
    public static IReadOnlyList<string> Extensions { get; } = GetExtensions(DocumentReaders.Plain);

    /// <summary>All documents of some paths, in the order given; those of a folder in the order of their names (ordinal).</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="tokenizer">The model's tokenizer; null is enough for <c>.bin</c>.</param>
    /// <param name="vocabularySize">
    /// V: every id must be below it. A <c>.bin</c> holds uint16 up to 65,536 ids, uint32 above, as LongLoRA writes them.
    /// </param>
    /// <param name="readers">Readers of further kinds, such as those of LongLora.Documents; null for none.</param>
    /// <param name="tokenBytes">Bytes a token in a <c>.bin</c>, 2 or 4; null for the rule above.</param>
    /// <exception cref="DataException">A path is missing, a folder holds nothing readable, or text comes without a tokenizer.</exception>
    public static IExampleSource Open(
        IReadOnlyList<string> paths,
        ITokenizer? tokenizer,
        int vocabularySize,
        IReadOnlyList<IDocumentReader>? readers = null,
        int? tokenBytes = null
    )
    {
        IReadOnlyList<IDocumentReader> all = [.. DocumentReaders.Plain, .. readers ?? []];
        var files = DataFiles.Expand(paths, GetExtensions(all)).ToList();
        if (tokenizer is null && files.Find(f => !IsTokens(f)) is { } text)
            throw new DataException(
                $"'{text}' is text, but the model folder has no tokenizer.model or tokenizer.json. Add one, or give tokens as .bin."
            );
        return new FileSource(
            files,
            tokenizer,
            vocabularySize,
            all,
            tokenBytes ?? (vocabularySize <= 65536 ? sizeof(ushort) : sizeof(uint))
        );
    }

    private static List<string> GetExtensions(IReadOnlyList<IDocumentReader> readers) => [.. readers.SelectMany(r => r.Extensions), Tokens];

    private static bool IsTokens(string path) => DataFiles.GetExtension(path) == Tokens;

    private sealed class FileSource(
        List<string> files,
        ITokenizer? tokenizer,
        int vocabularySize,
        IReadOnlyList<IDocumentReader> readers,
        int size
    ) : IExampleSource
    {
        private readonly DocumentTokenizer? _tokenizer = tokenizer is null ? null : new DocumentTokenizer(tokenizer);

        public IEnumerable<TrainingExample> Read(CancellationToken cancellation)
        {
            foreach (var file in files)
            {
                foreach (var example in DataFiles.Guard(IsTokens(file) ? ReadTokens(file) : ReadText(file), file))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (example.Ids.Count > 0)
                        yield return example;
                }
            }
        }

        private IEnumerable<TrainingExample> ReadText(string file)
        {
            var extension = DataFiles.GetExtension(file);
            using var stream = DataFiles.Open(file);
            foreach (var (text, origin) in readers.First(r => r.Extensions.Contains(extension)).Read(stream, file))
            foreach (var piece in Encode(text, origin))
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
                        throw new DataException(
                            $"{origin}: the tokenizer gives id {id}, but the model has {vocabularySize} ids. Tokenizer and model do not "
                                + $"belong together."
                        );
                }
                yield return new TrainingExample(ids, null, origin) { IsJoined = continues };
                continues = true;
            }
        }

        // A stream of tokens has no documents: it is handed on in pieces without anything between them.
        private IEnumerable<TrainingExample> ReadTokens(string file)
        {
            const int pieceTokens = 1 << 20;
            using var stream = DataFiles.Open(file);
            var buffer = new byte[pieceTokens * size];
            for (long position = 0; ; )
            {
                var count = stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
                if (count % size != 0)
                    throw new DataException(
                        $"{file} has {position * size + count} bytes, which is no multiple of {size}: tokens are read as uint{size * 8} "
                            + $"(vocabulary {vocabularySize}). Choose with token-bytes."
                    );
                if (count == 0)
                    yield break;
                var ids = new int[count / size];
                for (var i = 0; i < ids.Length; i++)
                {
                    var id = size == 2 ? MemoryMarshal.Cast<byte, ushort>(buffer)[i] : MemoryMarshal.Cast<byte, uint>(buffer)[i];
                    if (id >= vocabularySize)
                        throw new DataException(
                            $"{file}: token {position + i} is {id}, but the model has {vocabularySize} ids. It was made with another "
                                + $"tokenizer, or its tokens are not uint{size * 8}: choose with token-bytes."
                        );
                    ids[i] = (int)id;
                }
                yield return new TrainingExample(ids, null, file) { IsJoined = true };
                position += ids.Length;
            }
        }
    }
}
