using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Distributed;

/// <summary>
/// The one thread that calls MPI. It begins operations and tests them, sends and hears beats, and ends the job when a rank is gone, frozen
/// or hung: also while this process computes, and while it waits.
/// </summary>
internal sealed unsafe class MpiThread : IDisposable
{
    private const int Funneled = 1,
        SpinsBeforeNap = 500;

    private static readonly TimeSpan s_longestStart = TimeSpan.FromMinutes(2);

    // MPI moves a piece of a large message at each test (a few fragments of shared memory, or what a socket takes), and does not say
    // that it has. Naps of a millisecond limited it to some 40 MB/s. No nap would take the processor from the threads that compute.
    private static readonly TimeSpan s_nap = TimeSpan.FromMicroseconds(50);

    private readonly ConcurrentQueue<MpiOperation> _queue = [];
    private readonly AutoResetEvent _work = new(false);
    private readonly List<MpiOperation> _active = [];
    private readonly ManualResetEventSlim _ready = new(),
        _left = new();
    private readonly Launcher _launcher;
    private readonly Action<string> _tell;
    private Exception? _failedStart;
    private MpiOperation? _waitsFor;
    private MpiHeart _heart = null!;
    private long _numbers,
        _ended;
    private volatile bool _mayLeave;

    /// <summary>Starts MPI and joins the job.</summary>
    /// <param name="launcher">Who started this process.</param>
    /// <param name="phases">What this rank is doing.</param>
    /// <param name="tell">Prints an error.</param>
    /// <exception cref="ConfigurationException">There is no fitting library, or it finds another job than the launcher.</exception>
    internal MpiThread(Launcher launcher, Phases phases, Action<string> tell)
    {
        (_launcher, _tell, Phases) = (launcher, tell, phases);
        new Thread(Live) { IsBackground = true, Name = "communication" }.Start();
        if (!_ready.Wait(s_longestStart))
        {
            // MPI_Init hangs on that thread, so nothing of MPI can end the job.
            tell(
                $"rank {launcher.Rank} ({Environment.MachineName}): the job did not come together within {s_longestStart.TotalSeconds:0} s."
            );
            Posix.Exit(CommunicationException.ExitCode);
        }
        if (_failedStart is not null)
            throw _failedStart;
    }

    internal MpiLibrary Library { get; private set; } = null!;

    internal int Rank { get; private set; }

    internal int Size { get; private set; }

    internal int LocalRank { get; private set; }

    internal int LocalSize { get; private set; }

    internal IReadOnlyList<string> Hosts { get; private set; } = [];

    internal Phases Phases { get; }

    /// <summary>What this rank says about itself.</summary>
    internal Beat State
    {
        get
        {
            var (what, limit) = Phases.Current;
            var waitsFor = Volatile.Read(ref _waitsFor);
            return new Beat
            {
                Ticks = Liveness.Ticks,
                Ended = _ended,
                WaitsFor = waitsFor?.Number ?? -1,
                Bytes = waitsFor?.Bytes ?? 0,
                LimitMilliseconds = (long)Math.Min(limit.TotalMilliseconds, int.MaxValue),
                What = waitsFor?.ToString() ?? what,
            };
        }
    }

    /// <summary>Begins an operation.</summary>
    internal MpiOperation Post(Func<long, MpiOperation> make)
    {
        var operation = make(_numbers++);
        _queue.Enqueue(operation);
        _work.Set();
        return operation;
    }

    /// <summary>Waits for an operation.</summary>
    internal void Wait(MpiOperation operation)
    {
        if (!operation.HasEnded)
            Volatile.Write(ref _waitsFor, operation);
        try
        {
            operation.Wait();
        }
        finally
        {
            Volatile.Write(ref _waitsFor, null);
            Liveness.Skip();
        }
    }

    /// <summary>Ends the job because of this rank. Rank 0 prints the reason, once for all ranks.</summary>
    [DoesNotReturn]
    internal void Fail(int exitCode, string why)
    {
        _heart.Report(exitCode, why);
        _work.Set();
        Thread.Sleep(TimeSpan.FromSeconds(10)); // the other thread ends the process before
        Posix.Exit(exitCode);
        throw new UnreachableException();
    }

    /// <summary>Leaves the job, after all ranks have come to this point, and ends MPI.</summary>
    public void Dispose()
    {
        Wait(Post(number => new MpiOperation(number, "end of the job", 0, operation =>
            {
                nint request;
                Check(Library.BeginBarrier(Library.World, &request));
                operation.Requests.Add(request);
            })));
        _mayLeave = true;
        _work.Set();
        if (!_left.Wait(TimeSpan.FromSeconds(10)))
            return; // the other thread still uses what it waits for
        _work.Dispose();
        _ready.Dispose();
        _left.Dispose();
    }

    /// <summary>Throws what MPI says.</summary>
    internal void Check(int code, [CallerArgumentExpression(nameof(code))] string call = "")
    {
        if (code != 0)
            throw new CommunicationException(
                $"{call.Split('(')[0].Replace("Library.", "", StringComparison.Ordinal)} failed: {Library.Explain(code)}."
            );
    }

    private void Live()
    {
        try
        {
            Join();
        }
        catch (Exception e)
        {
            _failedStart = e;
            _ready.Set();
            return;
        }
        _ready.Set();
        try
        {
            Serve();
            _ = Library.Finalize();
            _left.Set();
        }
        catch (Exception e)
        {
            _heart.EndJob(CommunicationException.ExitCode, $"rank {Rank} ({Environment.MachineName}): {e.Message}");
        }
    }

    private void Join()
    {
        // Otherwise UCX takes SIGSEGV away from .NET.
        Posix.SetVariable("UCX_ERROR_SIGNALS", "");
        Posix.SetVariable("UCX_DEBUG_SIGNO", "0");
        // Otherwise UCX writes jumps into munmap and others, byte by byte, while the threads of .NET may be inside them: one of some fifty
        // jobs ended with a general protection fault in munmap. It needs these events only to keep memory registered with a network card.
        Posix.SetVariable("UCX_MEM_EVENTS", "no");
        Library = MpiLibrary.Load(_launcher);
        var code = 0;
        Posix.KeepSignals(() =>
        {
            int provided;
            code = Library.InitThread(0, 0, Funneled, &provided);
        });
        Check(code, "MPI_Init_thread");
        int rank,
            size;
        Check(Library.CommRank(Library.World, &rank));
        Check(Library.CommSize(Library.World, &size));
        if (size != _launcher.Size)
        {
            _ = Library.Finalize();
            throw new ConfigurationException(
                $"{_launcher.Name} started {_launcher.Size} processes, but {Library.Version} sees {size}, so each would do the whole job. "
                    + "Use the mpirun that belongs to the library, or srun --mpi=pmix."
            );
        }
        (Rank, Size) = (rank, size);
        Check(Library.SetErrorHandler(Library.World, Library.ErrorsReturn));
        Hosts = MpiNames.Gather(this, Library.World, size, Environment.MachineName);
        nint local;
        Check(Library.CommSplitType(Library.World, Library.SharedMemory, 0, Library.Info, &local));
        Check(Library.CommRank(local, &rank));
        Check(Library.CommSize(local, &size));
        (LocalRank, LocalSize) = (rank, size);
        Check(Library.CommFree(&local));
        _heart = new MpiHeart(this, _tell);
    }

    private void Serve()
    {
        var spins = 0;
        while (!_mayLeave || _active.Count > 0 || !_queue.IsEmpty)
        {
            while (_queue.TryDequeue(out var operation))
            {
                Begin(operation);
                spins = 0;
            }
            if (TestAll())
                spins = 0;
            _heart.Beat();
            if (_active.Count == 0)
                _work.WaitOne(50);
            else if (Volatile.Read(ref _waitsFor) is null || ++spins > SpinsBeforeNap)
                Posix.Nap(s_nap);
        }
        _heart.Drain();
    }

    private void Begin(MpiOperation operation)
    {
        try
        {
            operation.Begin();
            _active.Add(operation);
        }
        catch (Exception e)
        {
            operation.End(Explain(operation, e));
        }
    }

    // Whether anything has moved.
    private bool TestAll()
    {
        var moved = false;
        for (var i = 0; i < _active.Count; i++)
        {
            var operation = _active[i];
            try
            {
                moved |= operation.Requests.RemoveAll(HasEnded) > 0;
                if (operation.Requests.Count > 0)
                    continue;
                operation.Finish?.Invoke();
                _active.RemoveAt(i--);
                _ended++;
                moved = true;
                operation.End();
            }
            catch (Exception e)
            {
                _active.Remove(operation);
                i--;
                operation.End(Explain(operation, e));
            }
        }
        return moved;
    }

    private bool HasEnded(nint request)
    {
        int flag;
        Check(Library.Test(&request, &flag, Library.StatusIgnore), "MPI_Test");
        return flag != 0;
    }

    private static CommunicationException Explain(MpiOperation operation, Exception e) =>
        new($"{operation} failed: {e.Message} Another rank may be gone. Resume the job.", e);
}
