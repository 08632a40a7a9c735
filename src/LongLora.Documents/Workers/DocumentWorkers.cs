using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Workers;

/// <summary>
/// Reads documents in worker processes: this program itself, started once more with limits on memory, time and output. A file that would
/// end the program, hang it or fill its memory ends its worker instead, and is refused with a <see cref="DataException"/>; the next file
/// gets another worker. Thread-safe.
/// </summary>
/// <remarks>
/// A worker opens no files and sees no passwords of the environment: it gets the bytes of the file through a pipe. The first file costs
/// the start of a process, about 0.1 s; then the worker is kept. Text arrives unchanged, and as fast as a pipe is.
/// </remarks>
public sealed class DocumentWorkers : IDisposable
{
    private static readonly Lazy<DocumentWorkers> s_shared = new(() => new DocumentWorkers());

    private readonly DocumentWorkerOptions _options;
    private readonly Lock _lock = new();
    private readonly Stack<(DocumentWorker Worker, long Since)> _idle = [];
    private readonly Timer _retire;
    private bool _isDisposed;

    /// <summary>Makes a pool without workers; they are started when they are needed.</summary>
    /// <param name="options">The limits; null for the defaults.</param>
    /// <exception cref="ConfigurationException">An option is not valid.</exception>
    /// <exception cref="NotSupportedException">This program cannot start workers.</exception>
    public DocumentWorkers(DocumentWorkerOptions? options = null)
    {
        if (!IsSupported)
            throw new NotSupportedException(
                "Cannot start worker processes because this program is built without startup hooks, or is a worker itself."
            );
        _options = options ?? new();
        _options.Validate();
        Readers =
        [
            .. DocumentFormats.All.Select(
                IDocumentReader (reader, i) => reader is IRecordReader ? new WorkerRecordReader(this, i) : new WorkerReader(this, i)
            ),
        ];
        _retire = new Timer(_ => Retire(), null, _options.KeptTime / 4, _options.KeptTime / 4 + TimeSpan.FromSeconds(1));
    }

    /// <summary>Whether this program can start workers. Programs that are compiled to native code, and most trimmed ones, cannot.</summary>
    public static bool IsSupported => WorkerCommand.IsSupported;

    /// <summary>A pool with the default limits for the whole program.</summary>
    /// <exception cref="NotSupportedException">This program cannot start workers.</exception>
    public static DocumentWorkers Shared => s_shared.Value;

    /// <summary>A reader for each of <see cref="DocumentFormats.All"/>, in the same order, that reads in a worker.</summary>
    public IReadOnlyList<IDocumentReader> Readers { get; }

    /// <summary>Ends the workers that have nothing to do. Those that read end with their file.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
            while (_idle.TryPop(out var kept))
                kept.Worker.Dispose();
        }
        _retire.Dispose();
    }

    internal DocumentWorkerOptions Options => _options;

    /// <summary>A worker that nobody else uses, for one file.</summary>
    internal DocumentWorker Rent()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            while (_idle.TryPop(out var kept))
            {
                if (kept.Worker.IsAlive)
                    return kept.Worker;
                kept.Worker.Dispose();
            }
        }
        return DocumentWorker.Start(_options);
    }

    /// <summary>Takes back a worker that waits for the next file.</summary>
    internal void Return(DocumentWorker worker)
    {
        lock (_lock)
        {
            if (!_isDisposed && _idle.Count < _options.Kept)
            {
                _idle.Push((worker, Environment.TickCount64));
                return;
            }
        }
        worker.Dispose();
    }

    private void Retire()
    {
        lock (_lock)
        {
            var fresh = _idle
                .Where(i => Environment.TickCount64 - i.Since < _options.KeptTime.TotalMilliseconds && i.Worker.IsAlive)
                .ToList();
            foreach (var (worker, _) in _idle.Except(fresh))
                worker.Dispose();
            _idle.Clear();
            for (var i = fresh.Count - 1; i >= 0; i--)
                _idle.Push(fresh[i]);
        }
    }
}
