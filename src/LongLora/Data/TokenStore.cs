using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>One document in a <see cref="TokenStore"/>.</summary>
/// <param name="Start">Its first token.</param>
/// <param name="Length">Its tokens.</param>
/// <param name="Origin">Where it came from.</param>
public readonly record struct StoredDocument(long Start, long Length, string Origin);

/// <summary>
/// The tokens of a corpus one after the other, with the end-of-text token between documents. In memory up to 16 Mi tokens; beyond that in a
/// mapped temporary file, so that a corpus may be larger than memory and is tokenised once.
/// </summary>
public sealed unsafe class TokenStore : IDisposable
{
    private const int TokensInMemory = 16 << 20;

    private readonly int[]? _memory;
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly int* _data;

    private TokenStore(int[] memory, List<StoredDocument> documents, string digest) =>
        (_memory, Count, Documents, Digest) = (memory, memory.Length, documents, digest);

    private TokenStore(FileStream spool, List<StoredDocument> documents, string digest)
    {
        (Count, Documents, Digest) = (spool.Length / sizeof(int), documents, digest);
        _file = MemoryMappedFile.CreateFromFile(spool, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _data = (int*)(start + _view.PointerOffset);
    }

    /// <summary>Number of tokens.</summary>
    public long Count { get; }

    /// <summary>The documents in order. A token stream is one document.</summary>
    public IReadOnlyList<StoredDocument> Documents { get; }

    /// <summary>SHA-256 of all tokens, in hexadecimal: two corpora with the same digest give the same batches.</summary>
    public string Digest { get; }

    /// <summary>Reads a whole corpus.</summary>
    /// <param name="source">The documents.</param>
    /// <param name="separator">Written after each document but the last, such as EOS; null for none.</param>
    /// <param name="maxTokens">Stops there; null for no limit.</param>
    /// <param name="cancellation">Looked at once a document.</param>
    /// <exception cref="DataException">There is not one token, or the temporary folder cannot take the tokens.</exception>
    public static TokenStore Build(IExampleSource source, int? separator, long? maxTokens = null, CancellationToken cancellation = default) =>
        Build(source, separator, maxTokens, TokensInMemory, cancellation);

    internal static TokenStore Build(IExampleSource source, int? separator, long? maxTokens, int tokensInMemory, CancellationToken cancellation)
    {
        var tokens = new List<int>();
        var documents = new List<StoredDocument>();
        FileStream? spool = null;
        long spooled = 0;
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        try
        {
            var (open, start, origin) = (false, 0L, "");
            long Position() => spooled + tokens.Count;
            ReadOnlySpan<byte> Bytes() => MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(tokens));
            void Close()
            {
                if (open && Position() > start)
                    documents.Add(new StoredDocument(start, Position() - start, origin));
            }
            foreach (var example in source.Read(cancellation))
            {
                if (maxTokens <= Position())
                    break;
                if (!(example.IsPiece && open && origin == example.Origin))
                {
                    Close();
                    if (open && separator is { } id && !example.IsPiece)
                        tokens.Add(id);
                    (open, start, origin) = (true, Position(), example.Origin);
                }
                var room = Math.Min(example.Ids.Count, (maxTokens ?? long.MaxValue) - Position());
                tokens.AddRange(example.Ids.Take((int)Math.Max(0, room)));
                if (tokens.Count >= tokensInMemory)
                {
                    spool ??= TemporaryFile();
                    spool.Write(Bytes());
                    hash.AppendData(Bytes());
                    spooled += tokens.Count;
                    tokens.Clear();
                }
            }
            Close();
            if (Position() == 0)
                throw new DataException("The data holds no text at all: every file is empty.");
            hash.AppendData(Bytes());
            var digest = Convert.ToHexStringLower(hash.GetHashAndReset());
            if (spool is null)
                return new TokenStore([.. tokens], documents, digest);
            spool.Write(Bytes());
            spool.Flush();
            return new TokenStore(spool, documents, digest);
        }
        catch (Exception e)
        {
            spool?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new DataException($"The tokens cannot be written to '{Path.GetTempPath()}', which needs 4 bytes a token: {e.Message}", e);
            throw;
        }
    }

    /// <summary>Copies tokens.</summary>
    /// <param name="start">First token.</param>
    /// <param name="target">As many as fit in it; all must exist.</param>
    public void CopyTo(long start, Span<long> target)
    {
        if (start < 0 || start + target.Length > Count)
            throw new ShapeException($"Tokens {start} to {start + target.Length} were asked for; there are {Count}.");
        var tokens = _memory is not null ? _memory.AsSpan((int)start, target.Length) : new ReadOnlySpan<int>(_data + start, target.Length);
        for (var i = 0; i < tokens.Length; i++)
            target[i] = tokens[i];
    }

    // Removed when closed; a killed process leaves it behind.
    private static FileStream TemporaryFile() => new(Path.Combine(Path.GetTempPath(), $"longlora-tokens-{Guid.NewGuid():N}.bin"),
        FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 20, FileOptions.DeleteOnClose);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_view is null)
            return;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file!.Dispose();
    }
}
