using System.Runtime.InteropServices;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Opens files and folders as tokenized documents: <c>.txt</c> and <c>.md</c>, <c>.jsonl</c> with <c>text</c>, token <c>.bin</c>, gzipped
/// or not, and what further readers support.
/// </summary>
public static class ExampleSources
{
    private const string Tokens = ".bin";

    /// <summary>Extensions that are read without further readers. A folder stands for all such files in it and its subfolders.</summary>
    public static IReadOnlyList<string> Extensions { get; } = GetExtensions(DocumentReaders.Plain);

    /// <summary>All documents of some paths, in the given order; within a folder in ordinal order of the names.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="tokenizer">The model's tokenizer; may be null for <c>.bin</c>.</param>
    /// <param name="vocabularySize">
    /// V: every id must be below it. As in LongLoRA, a <c>.bin</c> file contains uint16 for up to 65,536 ids and uint32 for more.
    /// </param>
    /// <param name="readers">Readers of further file types, such as those of LongLora.Documents; null for none.</param>
    /// <param name="tokenBytes">Bytes per token in a <c>.bin</c>, 2 or 4; null for the rule above.</param>
    /// <exception cref="DataException">
    /// A path does not exist, a folder contains no readable file, or text comes without a tokenizer.
    /// </exception>
    public static IExampleSource Open(
        IReadOnlyList<string> paths,
        ITokenizer? tokenizer,
        int vocabularySize,
        IReadOnlyList<IDocumentReader>? readers = null,
        int? tokenBytes = null
    )
    {
        IReadOnlyList<IDocumentReader> all = [.. DocumentReaders.Plain, .. readers ?? []];
        var unread = new List<string>();
        var files = DataFiles.Expand(paths, GetExtensions(all), unread).ToList();
        if (tokenizer is null && files.Find(f => !IsTokens(f)) is { } text)
            throw new DataException(
                $"Cannot read '{text}' as text because the model folder has no tokenizer.model or tokenizer.json. Add one, or give "
                    + "tokens as .bin."
            );
        return new FileSource(
            files,
            tokenizer,
            vocabularySize,
            all,
            tokenBytes ?? (vocabularySize <= 65536 ? sizeof(ushort) : sizeof(uint))
        )
        {
            Unread = unread,
        };
    }

    private static List<string> GetExtensions(IReadOnlyList<IDocumentReader> readers) => [.. readers.SelectMany(r => r.Extensions), Tokens];

    private static bool IsTokens(string path) => DataFiles.GetExtension(path) == Tokens;

    private sealed class FileSource(
        List<string> files,
        ITokenizer? tokenizer,
        int vocabularySize,
        IReadOnlyList<IDocumentReader> readers,
        int size
    ) : IExampleSource, IFileReport
    {
        private readonly List<string> _withoutText = [];

        public IReadOnlyList<string> Unread { get; init; } = [];

        public IReadOnlyList<string> WithoutText => _withoutText;

        private readonly DocumentTokenizer? _tokenizer = tokenizer is null ? null : new DocumentTokenizer(tokenizer);

        public IEnumerable<TrainingExample> Read(CancellationToken cancellation)
        {
            _withoutText.Clear();
            foreach (var file in files)
            {
                var isEmpty = true;
                foreach (var example in DataFiles.Guard(IsTokens(file) ? ReadTokens(file) : ReadText(file), file))
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (example.Ids.Count == 0)
                        continue;
                    isEmpty = false;
                    yield return example;
                }
                if (isEmpty)
                    _withoutText.Add(file);
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

        // A long text comes in chunks. The first one begins the document.
        private IEnumerable<TrainingExample> Encode(TextReader text, string origin)
        {
            var continues = false;
            foreach (var ids in _tokenizer!.Encode(text))
            {
                foreach (var id in ids)
                {
                    if (id >= vocabularySize)
                        throw new DataException(
                            $"{origin}: the tokenizer gives id {id}, but the model has {vocabularySize} ids. Tokenizer and model "
                                + "do not match."
                        );
                }
                yield return new TrainingExample(ids, null, origin) { IsJoined = continues };
                continues = true;
            }
        }

        // Small ids in four bytes, read as two: something, zero, something, zero.
        private static bool IsWide(ReadOnlySpan<ushort> tokens)
        {
            var something = 0;
            for (var i = 0; i + 1 < tokens.Length; i += 2)
            {
                if (tokens[i + 1] != 0)
                    return false;
                something += tokens[i] == 0 ? 0 : 1;
            }
            return something > 1;
        }

        // A stream of tokens has no documents. It is passed on in chunks without separators.
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
                        $"{file} has {position * size + count} bytes, which is not a multiple of {size}: tokens are read as uint{size * 8} "
                            + $"(vocabulary {vocabularySize}). Set token-bytes if this is wrong."
                    );
                if (count == 0)
                    yield break;
                if (position == 0 && size == sizeof(ushort) && IsWide(MemoryMarshal.Cast<byte, ushort>(buffer.AsSpan(0, count))))
                    throw new DataException(
                        $"{file}: every second token is 0, as where a file with 4 bytes a token is read with 2. Set token-bytes to 4."
                    );
                var ids = new int[count / size];
                for (var i = 0; i < ids.Length; i++)
                {
                    var id = size == 2 ? MemoryMarshal.Cast<byte, ushort>(buffer)[i] : MemoryMarshal.Cast<byte, uint>(buffer)[i];
                    if (id >= vocabularySize)
                        throw new DataException(
                            $"{file}: token {position + i} is {id}, but the model has {vocabularySize} ids. The file was made with another "
                                + $"tokenizer, or its tokens are not uint{size * 8}. Set token-bytes in that case."
                        );
                    ids[i] = (int)id;
                }
                yield return new TrainingExample(ids, null, file) { IsJoined = true };
                position += ids.Length;
            }
        }
    }
}
