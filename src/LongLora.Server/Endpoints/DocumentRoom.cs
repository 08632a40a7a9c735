using LongLora.Data;
using LongLora.Documents;
using LongLora.Documents.Workers;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>
/// Reads the documents of uploads: few at once, each in a worker process with limits on memory, time and text, and ended when its client
/// leaves. So no document ends the server or keeps it busy.
/// </summary>
internal sealed class DocumentRoom : IDisposable
{
    private readonly DocumentWorkers? _workers;
    private readonly IReadOnlyList<IDocumentReader> _readers;
    private readonly SemaphoreSlim _places;
    private readonly long _mostCharacters;
    private readonly int _mostWaiting;
    private int _here;

    /// <summary>Makes one. Workers start with the first document.</summary>
    internal DocumentRoom(ServerOptions options)
    {
        var atOnce = Math.Clamp(Environment.ProcessorCount / 2, 1, 4);
        _places = new SemaphoreSlim(atOnce);
        _mostWaiting = options.Queue;
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

    /// <summary>The text of a document, and how many tokens it has.</summary>
    /// <param name="bytes">The document.</param>
    /// <param name="name">Its file name.</param>
    /// <param name="model">The model that counts.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <exception cref="ApiException">Too many documents wait.</exception>
    internal async Task<(string Text, long Tokens)> Read(Stream bytes, string name, ChatModel model, CancellationToken cancellation)
    {
        try
        {
            if (Interlocked.Increment(ref _here) > _mostWaiting + 1)
                throw new ApiException(429, $"{_mostWaiting:N0} documents already wait; try again later.", code: "queue_full");
            await _places.WaitAsync(cancellation);
            try
            {
                return await Task.Run(
                    () =>
                    {
                        var text = DocumentText.Read(bytes, name, _readers, _mostCharacters, cancellation);
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
        finally
        {
            Interlocked.Decrement(ref _here);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _workers?.Dispose();
        _places.Dispose();
    }

    // Piece by piece, so that a long text takes little memory and ends with its client.
    private static long Count(string text, ChatModel model, CancellationToken cancellation)
    {
        var tokens = 0L;
        using var reader = new StringReader(text);
        foreach (var ids in new DocumentTokenizer(model.Tokenizer).Encode(reader))
        {
            tokens += ids.Count;
            cancellation.ThrowIfCancellationRequested();
        }
        return tokens;
    }
}
