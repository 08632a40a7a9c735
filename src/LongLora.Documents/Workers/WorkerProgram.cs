using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Workers;

/// <summary>What a worker process does: it reads one file after the other until its program ends.</summary>
/// <remarks>
/// It is the program itself, started once more; <see cref="StartupHook"/> calls this before the program's own code. It talks over its
/// standard input and output only, takes limits on memory from itself, and ends with the program that started it.
/// </remarks>
internal sealed class WorkerProgram
{
    // More than a pipe holds: the worker reads ahead of its program, but not far.
    private const int ReadAhead = 1 << 20;
    private const long LargeHeap = 64 << 20;

    private readonly FrameStream _frames = new(Console.OpenStandardInput(), Console.OpenStandardOutput());
    private readonly char[] _buffer = new char[1 << 15];
    private long _sent;

    /// <summary>Reads files until the program ends.</summary>
    /// <param name="memory">The memory that the worker may use, in bytes.</param>
    public static void Run(long memory)
    {
        ProcessLimits.LeaveTerminal();
        // What the runtime itself needs beside its heap: its code, its threads, and the code that it compiles.
        ProcessLimits.LimitMemory((ulong)memory + (512 << 20));
        Console.SetOut(TextWriter.Null);
        CultureInfo.CurrentCulture = CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
        EndWithParent();
        new WorkerProgram().Serve();
    }

    // A worker that is busy does not notice that nobody listens any more.
    private static void EndWithParent()
    {
        if (ProcessLimits.FindParent() is not { } parent)
            return;
        new Thread(() =>
        {
            while (ProcessLimits.FindParent() == parent)
                Thread.Sleep(1000);
            Environment.FailFast("The program that started this worker has ended.");
        })
        {
            IsBackground = true,
        }.Start();
    }

    private void Serve()
    {
        _frames.Write(FrameKind.Ready);
        _frames.Flush();
        while (true)
        {
            try
            {
                if (_frames.Read() == FrameKind.Request)
                    Answer(WorkerRequest.Parse(_frames.Content.Span));
            }
            catch (EndOfStreamException)
            {
                return;
            }
        }
    }

    private void Answer(WorkerRequest request)
    {
        _sent = 0;
        try
        {
            Read(request);
            _frames.Write(FrameKind.Done);
        }
        catch (WorkerStoppedException)
        {
            _frames.Write(FrameKind.Done);
        }
        catch (DataException e)
        {
            _frames.Write(FrameKind.Refused, e.Message);
        }
        catch (Exception e) when (IsOutOfMemory(e))
        {
            _frames.Write(FrameKind.OutOfMemory);
        }
        catch (InvalidDataException e) when (e.Message == TooLong)
        {
            _frames.Write(FrameKind.TooLong);
        }
        catch (Exception e)
        {
            _frames.Write(FrameKind.Failed, $"{e.GetType().Name}: {e.Message}");
        }
        _frames.Flush();
        if (GC.GetTotalMemory(forceFullCollection: false) > LargeHeap)
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    private const string TooLong = "A document has too many characters.";

    private static bool IsOutOfMemory(Exception e) =>
        e is OutOfMemoryException
        || (e is AggregateException all && all.InnerExceptions.Any(IsOutOfMemory))
        || e.InnerException is OutOfMemoryException;

    private void Read(WorkerRequest request)
    {
        var file = new string(MemoryMarshal.Cast<ushort, char>(request.File));
        using var stream = new RequestedStream(_frames, request.Length);
        var reader = DocumentFormats.All[request.Reader];
        if (request.Records)
        {
            foreach (var record in ((IRecordReader)reader).ReadRecords(stream, file))
                Send(record);
            return;
        }
        foreach (var (text, origin) in reader.Read(stream, file))
        {
            _frames.Write(FrameKind.Document, origin);
            Send(text, request.DocumentCharacters);
        }
    }

    private void Send(TextReader text, long most)
    {
        for (var sent = 0L; text.ReadBlock(_buffer) is > 0 and var count; )
        {
            if ((sent += count) > most)
                throw new InvalidDataException(TooLong);
            _frames.Write(FrameKind.Text, _buffer.AsSpan(0, count));
            Rest(2 * count);
        }
    }

    private void Send(DataRecord record)
    {
        var origin = MemoryMarshal.AsBytes(record.Origin.AsSpan());
        var json = JsonMarshal.GetRawUtf8Value(record.Value);
        var content = new byte[4 + origin.Length + json.Length];
        BinaryPrimitives.WriteInt32LittleEndian(content, origin.Length);
        origin.CopyTo(content.AsSpan(4));
        json.CopyTo(content.AsSpan(4 + origin.Length));
        _frames.Write(FrameKind.Record, content);
        Rest(content.Length);
    }

    private void Rest(int count)
    {
        if ((_sent += count) < ReadAhead)
            return;
        _sent = 0;
        _frames.Write(FrameKind.Pause);
        _frames.Flush();
        if (_frames.Read() != FrameKind.GoOn)
            throw new WorkerStoppedException();
    }
}
