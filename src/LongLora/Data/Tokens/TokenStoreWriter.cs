using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// Writes a token file while its documents are read. Memory holds one block of tokens, 24 bytes per document and 16 bytes per span that is
/// to be learned; everything else is written to the file at once.
/// </summary>
internal sealed class TokenStoreWriter : IDisposable
{
    private const int BlockTokens = 1 << 18;

    private readonly string _folder;
    private readonly int? _separator;
    private readonly long _maxTokens;
    private readonly int[] _block = new int[BlockTokens];
    private readonly List<DocumentRecord> _documents = [];
    private readonly List<LearnedSpan> _spans = [];
    private readonly List<StoredCorpus> _corpora = [];
    private readonly List<string> _origins = [];
    private readonly Dictionary<string, int> _originIds = new(StringComparer.Ordinal);
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private FileStream? _file;
    private int _tokenSize = sizeof(ushort),
        _filled;
    private long _written,
        _documentStart;
    private bool _open,
        _hasLabels,
        _hasSeparator;
    private string _origin = "";

    /// <param name="folder">Where to create the file.</param>
    /// <param name="separator">Written between documents; null for none.</param>
    /// <param name="maxTokens">The most tokens to write; null for no limit.</param>
    public TokenStoreWriter(string folder, int? separator, long? maxTokens)
    {
        (_folder, _separator, _maxTokens) = (folder, separator, maxTokens ?? long.MaxValue);
        Guard(() => _file = CreateTemporaryFile());
    }

    private long Position => _written + _filled;

    /// <summary>Appends a corpus.</summary>
    public void Add(IExampleSource source, CancellationToken cancellation)
    {
        var (firstDocument, begins) = (_documents.Count, true);
        var start = Position;
        foreach (var example in source.Read(cancellation))
        {
            if (Position >= _maxTokens)
                break;
            if (begins || !(example.IsJoined && _open && _origin == example.Origin))
            {
                Begin(example);
                if (begins)
                    (start, begins) = (_documentStart, false);
            }
            Append(example);
            Liveness.Tick();
        }
        Close();
        if (_documents.Count > firstDocument)
            _corpora.Add(new StoredCorpus(firstDocument, _documents.Count - firstDocument, start, Position - start));
    }

    /// <summary>Completes the file and opens it for reading.</summary>
    /// <param name="cache">Where to keep it; null to delete it together with the store.</param>
    /// <param name="notes">Sentences about what was done to the data.</param>
    public TokenStore Finish(TokenCache? cache, IReadOnlyList<string> notes)
    {
        if (Position == 0)
            throw new DataException("The data contains no text: every file is empty.");
        var store = default(TokenStore);
        Guard(() =>
        {
            Flush();
            var file = _file!;
            Pad(file);
            var documentsAt = file.Position;
            file.Write(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_documents)));
            var spansAt = file.Position;
            if (_hasLabels)
                file.Write(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_spans)));
            var layout = ComputeLayoutDigest();
            if (_hasLabels)
                _hash.AppendData(MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(_spans)));
            new TokenFileFooter
            {
                Key = cache?.Key ?? "",
                Count = Position,
                TokenSize = _tokenSize,
                DocumentsAt = documentsAt,
                DocumentCount = _documents.Count,
                SpansAt = spansAt,
                SpanCount = _hasLabels ? _spans.Count : 0,
                HasLabels = _hasLabels,
                Digest = Convert.ToHexStringLower(_hash.GetHashAndReset()),
                LayoutDigest = layout,
                RecordsDigest = TokenStore.ComputeRecordsDigest(
                    CollectionsMarshal.AsSpan(_documents),
                    _hasLabels ? CollectionsMarshal.AsSpan(_spans) : []
                ),
                Origins = _origins,
                Corpora = _corpora,
                Notes = notes,
            }.Write(file);
            if (cache is not null)
                store = cache.Keep(file);
            else
            {
                file.Flush();
                store = new TokenStore(file);
                _file = null; // it belongs to the store now
            }
        });
        return store!;
    }

    private void Begin(TrainingExample example)
    {
        Close();
        if (_separator is { } id && _hasSeparator && !example.IsJoined)
            AppendToken(id, learned: true);
        (_open, _hasSeparator, _documentStart, _origin) = (true, true, Position, example.Origin);
    }

    private void Append(TrainingExample example)
    {
        if (example.Labels is not null && example.Labels.Count != example.Ids.Count)
            throw new ShapeException(
                $"{example.Origin}: {example.Ids.Count} ids need as many labels, but there are {example.Labels.Count}."
            );
        _hasLabels |= example.Labels is not null;
        var count = (int)Math.Min(example.Ids.Count, _maxTokens - Position);
        for (var i = 0; i < count; i++)
        {
            var id = example.Ids[i];
            var label = example.Labels?[i] ?? id;
            if (label != id && label != TrainingExample.IgnoredLabel)
                throw new ShapeException(
                    $"{example.Origin}: the label of token {i} is {label}; it can be the token's id, {id}, or "
                        + $"{TrainingExample.IgnoredLabel}."
                );
            AppendToken(id, label == id);
        }
    }

    private void AppendToken(int id, bool learned)
    {
        if (learned)
            ExtendSpans();
        _block[_filled++] = id;
        if (_filled == BlockTokens)
            Guard(Flush);
    }

    // Extends the last span, or starts a new one.
    private void ExtendSpans()
    {
        var at = Position;
        var last = _spans.Count > 0 ? _spans[^1] : default;
        if (_spans.Count > 0 && last.End == at)
            _spans[^1] = last with { End = at + 1 };
        else
            _spans.Add(new LearnedSpan(at, at + 1));
    }

    private void Close()
    {
        if (_open && Position > _documentStart)
        {
            var (origin, number) = FindOrigin(_origin);
            _documents.Add(new DocumentRecord(_documentStart, Position - _documentStart, origin, number));
        }
        _open = false;
    }

    // "data.jsonl:17" is stored as a name that many documents share, and a number.
    private (int Id, int Number) FindOrigin(string text)
    {
        var colon = text.LastIndexOf(':');
        var number = -1;
        if (
            colon > 0
            && int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var parsed)
            && text[colon + 1] != '0'
        )
            number = parsed;
        var name = number < 0 ? text : text[..colon];
        if (!_originIds.TryGetValue(name, out var id))
        {
            _originIds.Add(name, id = _origins.Count);
            _origins.Add(name);
        }
        return (id, number);
    }

    private void Flush()
    {
        var tokens = _block.AsSpan(0, _filled);
        _hash.AppendData(MemoryMarshal.AsBytes(tokens));
        if (_tokenSize == sizeof(ushort) && tokens.ContainsAnyExceptInRange(0, ushort.MaxValue))
            Widen();
        if (_tokenSize == sizeof(ushort))
            _file!.Write(MemoryMarshal.AsBytes(Array.ConvertAll(tokens.ToArray(), id => (ushort)id).AsSpan()));
        else
            _file!.Write(MemoryMarshal.AsBytes(tokens));
        _written += _filled;
        _filled = 0;
    }

    // The first id above 65,535: everything written so far is rewritten with 4 bytes per token.
    private void Widen()
    {
        var narrow = _file!;
        narrow.Flush();
        narrow.Position = 0;
        var wide = CreateTemporaryFile();
        var buffer = new ushort[BlockTokens];
        for (var left = _written; left > 0; )
        {
            var piece = buffer.AsSpan(0, (int)Math.Min(left, BlockTokens));
            narrow.ReadExactly(MemoryMarshal.AsBytes(piece));
            wide.Write(MemoryMarshal.AsBytes(Array.ConvertAll(piece.ToArray(), id => (int)id).AsSpan()));
            left -= piece.Length;
        }
        narrow.Dispose();
        (_file, _tokenSize) = (wide, sizeof(int));
    }

    private string ComputeLayoutDigest()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var lengths = new long[2 * 1024];
        foreach (var chunk in _documents.Chunk(1024))
        {
            for (var i = 0; i < chunk.Length; i++)
                (lengths[2 * i], lengths[2 * i + 1]) = (chunk[i].Start, chunk[i].Length);
            hash.AppendData(MemoryMarshal.AsBytes(lengths.AsSpan(0, 2 * chunk.Length)));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Pad(FileStream file)
    {
        while (file.Position % sizeof(long) != 0)
            file.WriteByte(0);
    }

    // Deleted when closed. On Unix it has no name even while it is open.
    private FileStream CreateTemporaryFile() => ScratchFile.Create(_folder, "tokens", 1 << 20);

    private void Guard(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DataException(
                $"Cannot write the tokens to '{_folder}', which needs 2 to 4 bytes per token: {e.Message} "
                    + "Free some space there, or set TMPDIR to a folder with enough space.",
                e
            );
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _hash.Dispose();
        try
        {
            _file?.Dispose();
        }
        catch (IOException)
        {
            // What could not be written before cannot be written now. The reason has already been reported.
        }
    }
}
