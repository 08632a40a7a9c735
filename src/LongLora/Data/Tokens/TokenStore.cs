using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// The tokens of a corpus in sequence, with the end-of-text token between documents, and which of them are to be learned. They are in a
/// memory-mapped file, so a corpus may be larger than memory and is tokenized only once. A token takes 2 bytes if every id is below 65,536,
/// else 4.
/// </summary>
public sealed unsafe class TokenStore : IDisposable
{
    private readonly MappedFile _file;
    private readonly TokenFileFooter _footer;

    internal TokenStore(FileStream file)
    {
        _footer = TokenFileFooter.Read(file);
        _file = new MappedFile(file);
        Documents = new DocumentList(this);
    }

    /// <summary>Number of tokens.</summary>
    public long Count => _footer.Count;

    /// <summary>2 or 4.</summary>
    public int BytesPerToken => _footer.TokenSize;

    /// <summary>The documents in order. A token stream is one document.</summary>
    internal IReadOnlyList<StoredDocument> Documents { get; }

    /// <summary>The sources in order.</summary>
    internal IReadOnlyList<StoredCorpus> Corpora => _footer.Corpora;

    /// <summary>Whether some tokens are only read and not learned, such as questions.</summary>
    public bool HasLabels => _footer.HasLabels;

    /// <summary>
    /// SHA-256 of all tokens, and of the labels if there are any, in hexadecimal. Two corpora with the same digest give the same batches.
    /// </summary>
    public string Digest => _footer.Digest;

    /// <summary>SHA-256 of the positions where documents begin and end, in hexadecimal.</summary>
    public string LayoutDigest => _footer.LayoutDigest;

    /// <summary>Sentences about what was done to the data when it was read, such as examples that were shortened.</summary>
    public IReadOnlyList<string> Notes => _footer.Notes;

    /// <summary>Reads a whole corpus.</summary>
    /// <param name="source">The documents.</param>
    /// <param name="separator">Written after each document except the last, such as EOS; null for none.</param>
    /// <param name="maxTokens">The most tokens to read; null for no limit.</param>
    /// <param name="cancellation">Checked once per document.</param>
    /// <exception cref="DataException">There are no tokens, or they cannot be written to the temporary folder.</exception>
    public static TokenStore Build(
        IExampleSource source,
        int? separator,
        long? maxTokens = null,
        CancellationToken cancellation = default
    ) => Build([source], separator, maxTokens, cancellation: cancellation);

    /// <summary>Reads files and folders for a model, with its separator between documents.</summary>
    /// <param name="paths">Files and folders, as for <see cref="ExampleSources.Open"/>.</param>
    /// <param name="model">The model. Everything except token <c>.bin</c> needs its tokenizer.</param>
    /// <param name="readers">Readers of further file formats, such as those of LongLora.Documents; null for none.</param>
    /// <param name="maxTokens">The most tokens to read; null for no limit.</param>
    /// <param name="tokenBytes">
    /// Bytes per token in a <c>.bin</c>, 2 or 4; null for 2 where every id of the model fits into them, else 4.
    /// </param>
    /// <param name="cancellation">Checked once per document.</param>
    /// <exception cref="DataException">A path cannot be read, or there are no tokens.</exception>
    public static TokenStore Read(
        IReadOnlyList<string> paths,
        LoadedModel model,
        IReadOnlyList<IDocumentReader>? readers = null,
        long? maxTokens = null,
        int? tokenBytes = null,
        CancellationToken cancellation = default
    ) =>
        Build(
            ExampleSources.Open(paths, model.Tokenizer, model.Config.VocabularySize, readers, tokenBytes),
            model.Separator,
            maxTokens,
            cancellation
        );

    /// <summary>Reads several corpora, one after the other.</summary>
    /// <param name="sources">The sources of the documents.</param>
    /// <param name="separator">Written after each document except the very last, such as EOS; null for none.</param>
    /// <param name="maxTokens">The most tokens to read; null for no limit.</param>
    /// <param name="cache">
    /// Where the tokens are looked up and kept for later runs; null for a temporary file that is deleted with the store.
    /// </param>
    /// <param name="notes">
    /// Called when everything is read, and tells what was done to the data; the sentences are kept with the tokens. Null for none.
    /// </param>
    /// <param name="tell">Told if the cache is damaged and is made again; null if nobody wants to know.</param>
    /// <param name="cancellation">Checked once per document.</param>
    /// <exception cref="DataException">There are no tokens, or they cannot be written to the folder.</exception>
    internal static TokenStore Build(
        IReadOnlyList<IExampleSource> sources,
        int? separator,
        long? maxTokens = null,
        TokenCache? cache = null,
        Func<IReadOnlyList<string>>? notes = null,
        Action<string>? tell = null,
        CancellationToken cancellation = default
    )
    {
        if (cache?.TryOpen(tell) is { } kept)
            return kept;
        using var writer = new TokenStoreWriter(cache is null ? Path.GetTempPath() : cache.Folder, separator, maxTokens);
        foreach (var source in sources)
            writer.Add(source, cancellation);
        return writer.Finish(cache, notes?.Invoke() ?? []);
    }

    /// <summary>
    /// Reads everything once and compares it with the digests, which says whether the file is as it was written. It takes about as long as
    /// reading the file, and some seconds per billion tokens to compute.
    /// </summary>
    internal bool IsWhole()
    {
        if (ComputeRecordsDigest(Records, Spans) != _footer.RecordsDigest)
            return false;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var block = new int[1 << 16];
        for (long start = 0; start < Count; start += block.Length)
        {
            var ids = block.AsSpan(0, (int)Math.Min(block.Length, Count - start));
            if (BytesPerToken == sizeof(ushort))
            {
                var narrow = new ReadOnlySpan<ushort>((ushort*)Data + start, ids.Length);
                for (var i = 0; i < ids.Length; i++)
                    ids[i] = narrow[i];
            }
            else
                new ReadOnlySpan<int>((int*)Data + start, ids.Length).CopyTo(ids);
            hash.AppendData(MemoryMarshal.AsBytes(ids));
        }
        if (HasLabels)
            hash.AppendData(MemoryMarshal.AsBytes(Spans));
        return Convert.ToHexStringLower(hash.GetHashAndReset()) == Digest;
    }

    /// <summary>Refuses ids that a model does not have.</summary>
    /// <param name="vocabularySize">V.</param>
    /// <param name="file">Where the tokens are, for the message.</param>
    /// <exception cref="DataException">It names the first such id and its position.</exception>
    internal void RequireIdsBelow(int vocabularySize, string file)
    {
        for (long i = 0; i < Count; i++)
        {
            var id = BytesPerToken == sizeof(ushort) ? ((ushort*)Data)[i] : ((int*)Data)[i];
            if (id < 0 || id >= vocabularySize)
                throw new DataException(
                    $"'{file}': token {i} is {id}, but the model has ids 0 to {vocabularySize - 1}. Delete the file, so that the data are "
                        + "tokenized again."
                );
        }
    }

    internal static string ComputeRecordsDigest(ReadOnlySpan<DocumentRecord> documents, ReadOnlySpan<LearnedSpan> spans)
    {
        var hash = new XxHash128();
        hash.Append(MemoryMarshal.AsBytes(documents));
        hash.Append(MemoryMarshal.AsBytes(spans));
        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    /// <summary>Copies tokens.</summary>
    /// <param name="start">First token.</param>
    /// <param name="target">Filled completely; all its tokens must exist.</param>
    public void CopyTo(long start, Span<long> target)
    {
        if (start < 0 || start + target.Length > Count)
            throw new ShapeException($"Cannot read tokens {start} to {start + target.Length} because there are only {Count}.");
        if (BytesPerToken == sizeof(ushort))
        {
            var tokens = new ReadOnlySpan<ushort>((ushort*)Data + start, target.Length);
            for (var i = 0; i < tokens.Length; i++)
                target[i] = tokens[i];
        }
        else
        {
            var tokens = new ReadOnlySpan<int>((int*)Data + start, target.Length);
            for (var i = 0; i < tokens.Length; i++)
                target[i] = tokens[i];
        }
    }

    /// <summary>
    /// Copies labels: the id of each token that is to be learned, and <see cref="TrainingExample.IgnoredLabel"/> for the others.
    /// </summary>
    /// <param name="start">First token.</param>
    /// <param name="target">Filled completely; all its tokens must exist.</param>
    public void CopyLabels(long start, Span<long> target)
    {
        CopyTo(start, target);
        if (!HasLabels)
            return;
        var spans = Spans;
        long end = start + target.Length,
            at = start;
        for (var i = FindFirstSpanEndingAfter(spans, start); i < spans.Length && spans[i].Start < end; i++)
        {
            if (spans[i].Start > at)
                target[(int)(at - start)..(int)(spans[i].Start - start)].Fill(TrainingExample.IgnoredLabel);
            at = Math.Min(end, spans[i].End);
        }
        target[(int)(at - start)..].Fill(TrainingExample.IgnoredLabel);
    }

    /// <summary>The document that contains a token. A separator belongs to the document that it ends.</summary>
    /// <param name="token">Index of the token.</param>
    public int FindDocument(long token)
    {
        var records = Records;
        int low = 0,
            high = records.Length - 1;
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (records[middle].Start <= token)
                low = middle;
            else
                high = middle - 1;
        }
        return low;
    }

    private byte* Data => (byte*)_file.Start;

    private ReadOnlySpan<DocumentRecord> Records => new(Data + _footer.DocumentsAt, _footer.DocumentCount);

    private ReadOnlySpan<LearnedSpan> Spans => new(Data + _footer.SpansAt, _footer.SpanCount);

    private static int FindFirstSpanEndingAfter(ReadOnlySpan<LearnedSpan> spans, long token)
    {
        int low = 0,
            high = spans.Length;
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (spans[middle].End <= token)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }

    /// <summary>Unmaps the tokens.</summary>
    public void Dispose() => _file.Dispose();

    private sealed class DocumentList(TokenStore store) : IReadOnlyList<StoredDocument>
    {
        public int Count => store._footer.DocumentCount;

        public StoredDocument this[int index]
        {
            get
            {
                var record = store.Records[index];
                return new StoredDocument(record.Start, record.Length, store._footer.GetOrigin(record));
            }
        }

        public IEnumerator<StoredDocument> GetEnumerator()
        {
            for (var i = 0; i < Count; i++)
                yield return this[i];
        }

        System.Collections.IEnumerator System.Collections.IEnumerable.GetEnumerator() => GetEnumerator();
    }
}

/// <summary>
/// A document in a token file. Its origin is a text of the footer, followed by a number unless the number is negative.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct DocumentRecord(long Start, long Length, int Origin, int Number);

/// <summary>Tokens [Start, End) are to be learned.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LearnedSpan(long Start, long End);
