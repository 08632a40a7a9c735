using LongLora.Data;
using LongLora.Documents;
using LongLora.Documents.Workers;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>
/// Reads the documents of uploads: few at once, each in a worker process with limits on memory, time and text, and ended when its client
/// leaves. So no document ends the server or keeps it busy.
/// </summary>
internal sealed class DocumentRoom : IDisposable
{
    // Bodies in memory at once, among them those that are still on their way.
    private const int Bodies = 8;
    private const long GivenBackAfter = 8 << 20;

    private readonly DocumentWorkers? _workers;
    private readonly IReadOnlyList<IDocumentReader> _readers;
    private readonly SemaphoreSlim _bodies = new(Bodies),
        _places;
    private readonly long _mostCharacters;
    private readonly int _mostWaiting;
    private int _here;
    private long _sinceGivenBack;

    /// <summary>Makes one. Workers start with the first document.</summary>
    internal DocumentRoom(ServerOptions options)
    {
        var atOnce = Math.Clamp(Environment.ProcessorCount / 2, 1, 4);
        _places = new SemaphoreSlim(atOnce);
        _mostWaiting = Math.Max(options.Queue, Bodies);
        // What is longer could not be sent back as a part of a question.
        _mostCharacters = options.MaxBodyBytes;
        if (DocumentWorkers.IsSupported)
            _workers = new DocumentWorkers(
                new DocumentWorkerOptions
                {
                    MemoryBytes = 512 << 20,
                    TimePerMebibyte = TimeSpan.FromSeconds(2),
                    DocumentCharacters = _mostCharacters,
                    Kept = atOnce,
                }
            );
        _readers = _workers?.Readers ?? DocumentFormats.All;
    }

    /// <summary>Waits until an upload may send its body.</summary>
    /// <returns>Its place, which it leaves by disposing of it.</returns>
    /// <exception cref="ApiException">Too many wait already.</exception>
    internal async Task<Place> Enter(CancellationToken cancellation)
    {
        if (Interlocked.Increment(ref _here) > _mostWaiting)
        {
            Interlocked.Decrement(ref _here);
            throw new ApiException(
                429,
                $"{MessageText.Count(_mostWaiting, "document already waits", "documents already wait")}; try again later.",
                code: "queue_full"
            );
        }
        try
        {
            await _bodies.WaitAsync(cancellation);
            return new Place(this);
        }
        catch
        {
            Interlocked.Decrement(ref _here);
            throw;
        }
    }

    /// <summary>The text of a document, and how many tokens it has.</summary>
    /// <param name="bytes">The document.</param>
    /// <param name="name">Its file name.</param>
    /// <param name="model">The model that counts.</param>
    /// <param name="cancellation">Ends the reading.</param>
    internal async Task<(string Text, long Tokens)> Read(Stream bytes, string name, ChatModel model, CancellationToken cancellation)
    {
        await _places.WaitAsync(cancellation);
        try
        {
            return await Task.Run(
                () =>
                {
                    var text = DocumentText.Read(bytes, name, _readers, _mostCharacters, cancellation);
                    Interlocked.Add(ref _sinceGivenBack, bytes.Length + 2 * text.Length);
                    return (text, Count(text, model, cancellation));
                },
                CancellationToken.None
            );
        }
        finally
        {
            _places.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _workers?.Dispose();
        _places.Dispose();
        _bodies.Dispose();
    }

    private void Leave()
    {
        _bodies.Release();
        if (Interlocked.Decrement(ref _here) > 0 || Volatile.Read(ref _sinceGivenBack) < GivenBackAfter)
            return;
        Volatile.Write(ref _sinceGivenBack, 0);
        MemoryMeter.ReturnFreeMemory();
    }

    // Piece by piece, so that a long text takes little memory and ends with its client.
    private static long Count(string text, ChatModel model, CancellationToken cancellation)
    {
        var tokenizer = new DocumentTokenizer(model.Tokenizer);
        // What stands before and behind every document does not count.
        var tokens =
            text.Length == 0 ? 0L : model.Tokenizer.Encode("a").Count - tokenizer.Encode(new StringReader("a")).Sum(ids => ids.Count);
        foreach (var ids in tokenizer.Encode(new StringReader(text)))
        {
            tokens += ids.Count;
            cancellation.ThrowIfCancellationRequested();
        }
        return tokens;
    }

    /// <summary>The place of one upload.</summary>
    internal sealed class Place(DocumentRoom room) : IDisposable
    {
        private int _left;

        /// <summary>Leaves it to the next one.</summary>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _left, 1) == 0)
                room.Leave();
        }
    }
}
