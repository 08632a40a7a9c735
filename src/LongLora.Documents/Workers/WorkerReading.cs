using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Documents.Workers;

/// <summary>
/// One file on its way through a worker: asks for it, gives the worker what it needs of the file, and passes on what it finds.
/// </summary>
internal sealed class WorkerReading : IDisposable
{
    private static readonly TimeSpan s_stopTime = TimeSpan.FromMilliseconds(500);

    private readonly DocumentWorkers _pool;
    private readonly Stream _stream;
    private readonly string _file;
    private readonly WorkerRequest _request;
    private readonly long _start;
    private readonly CancellationToken _cancellation;
    private CancellationTokenRegistration _registration;
    private DocumentWorker? _worker;
    private ReadOnlyMemory<byte> _record;
    private long _given,
        _received;
    private bool _isDone;

    /// <summary>Describes what to read. A worker is taken with the first call of <see cref="Next"/>.</summary>
    public WorkerReading(DocumentWorkers pool, Stream stream, string file, int reader, bool records, CancellationToken cancellation)
    {
        (_pool, _stream, _file, _cancellation) = (pool, stream, file, cancellation);
        _start = stream.CanSeek ? stream.Position : 0;
        _request = new WorkerRequest(
            reader,
            MemoryMarshal.Cast<char, ushort>(file.AsSpan()).ToArray(),
            stream.CanSeek ? stream.Length - _start : null,
            records,
            pool.Options.DocumentCharacters
        );
        Text = new WorkerText(this);
    }

    /// <summary>The text of the document that <see cref="Next"/> found.</summary>
    public WorkerText Text { get; private set; }

    /// <summary>Goes to the next document or record.</summary>
    /// <returns>Where it comes from; null after the last one.</returns>
    /// <exception cref="DataException">The file cannot be read, or needs more than it may.</exception>
    public string? Next()
    {
        if (_isDone)
            return null;
        if (_worker is null)
            Begin();
        while (true)
        {
            switch (Receive())
            {
                case FrameKind.Document:
                    Text = new WorkerText(this);
                    return _worker!.Frames.ContentText;
                case FrameKind.Record:
                    var length = BinaryPrimitives.ReadInt32LittleEndian(_worker!.Frames.Content.Span);
                    _record = _worker.Frames.Content[(4 + length)..];
                    return new string(MemoryMarshal.Cast<byte, char>(_worker.Frames.Content.Span.Slice(4, length)));
                case FrameKind.Done:
                    return null;
            }
        }
    }

    /// <summary>The record that <see cref="Next"/> found.</summary>
    public JsonDocument ParseRecord() => JsonDocument.Parse(_record);

    /// <summary>The next piece of the document's text; empty at its end.</summary>
    /// <exception cref="DataException">The rest of the text cannot be read.</exception>
    public ReadOnlyMemory<byte> ReceiveText()
    {
        // What follows the text belongs to Next.
        if (_isDone || Await() is FrameKind.Document or FrameKind.Record or FrameKind.Done)
            return default;
        Receive();
        return _worker!.Frames.Content;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_worker is not null && !_isDone)
            Stop();
        _registration.Dispose();
    }

    private void Begin()
    {
        _cancellation.ThrowIfCancellationRequested();
        // A worker that waited may have been ended by somebody else meanwhile; then the next one gets the file.
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                _worker = _pool.Rent();
                _worker.Begin(FindBudget());
                _worker.Frames.Write(FrameKind.Request, _request.ToBytes());
                _worker.Frames.Flush();
                break;
            }
            catch (Exception e) when (e is IOException or InvalidOperationException)
            {
                _worker?.Dispose();
                _worker = null;
                if (attempt == 2)
                    throw new DataException(
                        $"Cannot read {_file} because {e.Message.TrimEnd('.')}. Free memory, or close other programs.",
                        e
                    );
            }
        }
        var worker = _worker;
        _registration = _cancellation.Register(() => worker.Kill(WorkerEnd.Canceled));
    }

    private TimeSpan FindBudget()
    {
        var mebibytes = ((_request.Length ?? _given) + _received / 16.0) / (1 << 20);
        return _pool.Options.Time + mebibytes * _pool.Options.TimePerMebibyte;
    }

    // Waits for a frame that is for the caller, and gives the worker what it needs until then.
    private FrameKind Await()
    {
        var frames = _worker!.Frames;
        while (true)
        {
            try
            {
                var kind = frames.Peek();
                if (kind is not (FrameKind.Need or FrameKind.Pause))
                    return kind;
                frames.Read();
                if (kind == FrameKind.Need && FindPiece() is var piece)
                    frames.Write(FrameKind.Bytes, piece);
                else
                    frames.Write(FrameKind.GoOn);
                frames.Flush();
            }
            catch (Exception e) when (!_isDone && e is IOException or ObjectDisposedException or InvalidOperationException)
            {
                throw Explain();
            }
        }
    }

    private FrameKind Receive()
    {
        var kind = Await();
        var frames = _worker!.Frames;
        try
        {
            frames.Read();
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or InvalidOperationException)
        {
            throw Explain();
        }
        if (kind is not (FrameKind.Text or FrameKind.Record or FrameKind.Document))
            return Finish(kind);
        _received += frames.Content.Length;
        if (_received > 1 << 20)
            _worker.Budget = FindBudget();
        return kind;
    }

    private byte[] FindPiece()
    {
        var asked = _worker!.Frames.Content.Span;
        var position = BinaryPrimitives.ReadInt64LittleEndian(asked);
        var count = Math.Min(BinaryPrimitives.ReadInt32LittleEndian(asked[8..]), FrameStream.LargestPiece);
        byte[] piece;
        try
        {
            if (position >= 0)
                _stream.Position = _start + position;
            piece = new byte[position >= 0 ? Math.Clamp(_request.Length!.Value - position, 0, count) : count];
            piece = piece[.._stream.ReadAtLeast(piece, piece.Length, throwOnEndOfStream: false)];
        }
        catch
        {
            // The file itself cannot be read. Nobody needs what the worker would make of that.
            Abandon();
            throw;
        }
        _given += piece.Length;
        if (_request.Length is null)
            _worker.Budget = FindBudget();
        return piece;
    }

    private FrameKind Finish(FrameKind kind)
    {
        var (message, worker) = (_worker!.Frames.ContentText, _worker);
        _isDone = true;
        _registration.Dispose();
        worker.Rest();
        if (worker.End is null && kind is FrameKind.Done or FrameKind.Refused or FrameKind.TooLong)
            _pool.Return(worker);
        else
            worker.Dispose();
        return kind switch
        {
            FrameKind.Done => kind,
            FrameKind.Refused => throw new DataException(message),
            FrameKind.OutOfMemory => throw new DataException(ExplainMemory()),
            FrameKind.TooLong => throw new DataException(
                $"Cannot read {_file} because it contains a document of more than {_request.DocumentCharacters:N0} characters. Split it."
            ),
            _ => throw new DataException(
                $"Cannot read {_file} because its reader failed: {Shorten(message)} The file may be damaged: save it "
                    + "again with the program "
                    + "that made it. Please report it if that does not help."
            ),
        };
    }

    private Exception Explain()
    {
        var worker = _worker!;
        var said = worker.WaitForEnd();
        var (end, code) = (worker.End, worker.ExitCode);
        Abandon();
        if (end == WorkerEnd.Canceled)
            return new OperationCanceledException(_cancellation);
        const string again = "It is damaged, or made to be harmful. Save it again with the program that made it";
        if (end == WorkerEnd.Time)
            return new DataException(
                $"Cannot read {_file} because that took more than {worker.Budget.TotalSeconds:N0} s of processor time. "
                    + $"{again}, or split it."
            );
        if (end == WorkerEnd.Memory || said.Contains("Out of memory", StringComparison.OrdinalIgnoreCase))
            return new DataException(ExplainMemory());
        if (said.Contains("Stack overflow", StringComparison.Ordinal))
            return new DataException($"Cannot read {_file} because its parts are nested too deeply, or contain themselves. {again}.");
        return new DataException(
            $"Cannot read {_file} because the process that read it ended with code {code}{(said.Length > 0 ? ": " : ".")}"
                + $"{Shorten(said.Split('\n')[0])} {again}."
        );
    }

    private string ExplainMemory() =>
        $"Cannot read {_file} because that takes more than {_pool.Options.MemoryBytes >> 20:N0} MiB of memory. Split it, or save it again "
        + "with the program that made it.";

    private static string Shorten(string text) =>
        (text.Length > 300 ? text[..300] + "..." : text).Trim() is var cut && cut.EndsWith('.') ? cut : cut + ".";

    private void Abandon()
    {
        _isDone = true;
        _registration.Dispose();
        _worker!.Dispose();
    }

    // The caller does not want the rest. Mostly the worker waits already, and can have the next file.
    private void Stop()
    {
        var worker = _worker!;
        worker.SetDeadline(s_stopTime);
        try
        {
            while (true)
            {
                switch (worker.Frames.Read())
                {
                    case FrameKind.Need or FrameKind.Pause:
                        worker.Frames.Write(FrameKind.Stop);
                        worker.Frames.Flush();
                        break;
                    case FrameKind.Document or FrameKind.Record or FrameKind.Text:
                        break;
                    case FrameKind.Failed or FrameKind.OutOfMemory:
                        Abandon();
                        return;
                    default:
                        _isDone = true;
                        worker.Rest();
                        _pool.Return(worker);
                        return;
                }
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or InvalidOperationException)
        {
            Abandon();
        }
    }
}
