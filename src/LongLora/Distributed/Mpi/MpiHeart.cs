using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Distributed;

/// <summary>
/// Liveness of a job: beats go from every rank to rank 0 and back; failures go to rank 0, which prints the first and ends the job. All
/// calls but <see cref="Report"/> come from the thread that owns MPI.
/// </summary>
internal sealed unsafe class MpiHeart
{
    private const int BeatTag = 1,
        FailureTag = 2,
        VerdictTag = 3,
        TextBytes = 8192;

    private static readonly TimeSpan s_every = TimeSpan.FromSeconds(0.5),
        s_silence = TimeSpan.FromSeconds(5),
        s_pause = TimeSpan.FromSeconds(2),
        s_gathering = TimeSpan.FromSeconds(1);

    private readonly MpiThread _thread;
    private readonly MpiLibrary _library;
    private readonly Action<string> _tell;
    private readonly nint _communicator;
    private readonly RankWatch _watch;
    private readonly List<(nint Request, nint Buffer)> _sent = [];
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly (int ExitCode, string Text)?[] _failures;
    private (int ExitCode, string Text)? _mine;
    private TimeSpan? _firstFailure;
    private TimeSpan _lastBeat,
        _lastLook;
    private bool _hasReported;

    /// <summary>Joins the others; they must be there.</summary>
    internal MpiHeart(MpiThread thread, Action<string> tell)
    {
        (_thread, _library, _tell) = (thread, thread.Library, tell);
        nint own;
        thread.Check(_library.CommDup(_library.World, &own), "MPI_Comm_dup");
        _communicator = own;
        thread.Check(_library.SetErrorHandler(own, _library.ErrorsReturn), "MPI_Comm_set_errhandler");
        _failures = new (int, string)?[thread.Size];
        // The others wait a little longer than rank 0, so that one message is printed: rank 1's, if rank 0 itself is silent.
        var silence = s_silence + TimeSpan.FromSeconds(thread.Rank < 2 ? 0 : 1.5);
        _watch = new RankWatch(thread.Hosts, thread.Rank == 0 ? [.. Enumerable.Range(0, thread.Size)] : [0], silence);
    }

    /// <summary>This rank has failed. Any thread may say so.</summary>
    /// <param name="exitCode">For the job.</param>
    /// <param name="why">Empty if it failed only because another one did.</param>
    internal void Report(int exitCode, string why)
    {
        lock (_clock)
            _mine ??= (exitCode, why);
    }

    /// <summary>Sends and hears what is due, and ends the job if it must end.</summary>
    internal void Beat()
    {
        var now = _clock.Elapsed;
        (int, string)? mine;
        lock (_clock)
            mine = _mine;
        if (mine is { } failure && !_hasReported)
            SendFailure(failure, now);
        if (now - _lastLook > s_pause)
            _watch.Forgive(now);
        var isDue = now - _lastBeat > s_every;
        // Failures are heard at once where they are being gathered.
        if (!isDue && _firstFailure is null && now - _lastLook < TimeSpan.FromMilliseconds(20))
            return;
        _lastLook = now;
        HearFailures(now);
        if (!isDue)
            return;
        _lastBeat = now;
        var beat = _thread.State;
        foreach (var peer in _thread.Rank == 0 ? Enumerable.Range(1, _thread.Size - 1) : [0])
            Send(peer, BeatTag, MemoryMarshal.AsBytes(new ReadOnlySpan<Beat>(in beat)));
        _watch.Hear(_thread.Rank, beat, now);
        HearBeats(now);
        _sent.RemoveAll(HasGone);
        if (_firstFailure is null && _watch.Judge(now) is { } verdict)
            EndJob(CommunicationException.ExitCode, verdict + " The job is ended; resume it.");
    }

    /// <summary>Takes what is still on its way here, so that MPI can end.</summary>
    internal void Drain()
    {
        HearBeats(_clock.Elapsed);
        _sent.RemoveAll(HasGone);
    }

    /// <summary>Prints why, and ends all processes of the job.</summary>
    internal void EndJob(int exitCode, string why)
    {
        _tell(why);
        // MPICH's launcher throws away what it has not read yet when a rank aborts.
        Thread.Sleep(TimeSpan.FromMilliseconds(300));
        // MPI_Abort can block where a rank or a link is gone.
        new Thread(() =>
        {
            Thread.Sleep(TimeSpan.FromSeconds(3));
            Posix.Exit(exitCode);
        })
        {
            IsBackground = true,
        }.Start();
        _ = _library.Abort(_library.World, exitCode);
        Posix.Exit(exitCode);
    }

    private void SendFailure((int ExitCode, string Text) failure, TimeSpan now)
    {
        _hasReported = true;
        if (_thread.Rank == 0)
        {
            Note(0, failure, now);
            return;
        }
        var text = Encoding.UTF8.GetBytes(failure.Text);
        var letter = new byte[TextBytes];
        MemoryMarshal.Write(letter, failure.ExitCode);
        text.AsSpan(0, Math.Min(text.Length, TextBytes - sizeof(int) - 1)).CopyTo(letter.AsSpan(sizeof(int)));
        Send(0, FailureTag, letter);
        _firstFailure = now;
    }

    private void HearFailures(TimeSpan now)
    {
        var letter = new byte[TextBytes];
        if (_thread.Rank != 0)
        {
            if (Hear(0, VerdictTag, letter.AsSpan(0, sizeof(int))))
                Leave(MemoryMarshal.Read<int>(letter));
            // Rank 0 does not answer.
            if (_mine is { } unheard && now - _firstFailure > 3 * s_gathering)
                EndJob(unheard.ExitCode, Sign(_thread.Rank, unheard.Text));
            return;
        }
        for (var rank = 1; rank < _thread.Size; rank++)
        {
            if (Hear(rank, FailureTag, letter))
                Note(rank, (MemoryMarshal.Read<int>(letter), Encoding.UTF8.GetString(letter, 4, TextBytes - 4).TrimEnd('\0')), now);
        }
        if (_firstFailure is null)
            return;
        // The lowest rank that has something to say.
        var chosen = Enumerable
            .Range(0, _thread.Size)
            .OrderBy(r => _failures[r] is not { Text.Length: > 0 })
            .ThenBy(r => _failures[r] is null)
            .First();
        var (exitCode, why) = _failures[chosen]!.Value;
        if (_failures.All(f => f is not null))
        {
            // All have failed, as from a wrong option, so all can end in order, without the noise of an abort.
            _tell(_failures.All(f => f!.Value.Text == why) || chosen == 0 ? why : Sign(chosen, why));
            for (var rank = 1; rank < _thread.Size; rank++)
                Send(rank, VerdictTag, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in exitCode)));
            Leave(exitCode);
        }
        else if (now - _firstFailure > s_gathering)
            EndJob(exitCode, Sign(chosen, why));
    }

    private void Note(int rank, (int, string) failure, TimeSpan now)
    {
        _failures[rank] ??= failure;
        _firstFailure ??= now;
    }

    private string Sign(int rank, string why) => $"rank {rank} ({_thread.Hosts[rank]}): {why}";

    private void Leave(int exitCode)
    {
        new Thread(() =>
        {
            Thread.Sleep(TimeSpan.FromSeconds(3));
            Posix.Exit(exitCode);
        })
        {
            IsBackground = true,
        }.Start();
        HearBeats(_clock.Elapsed);
        _ = _library.Finalize();
        Posix.Exit(exitCode);
    }

    private void HearBeats(TimeSpan now)
    {
        Beat beat = default;
        for (var rank = 0; rank < _thread.Size; rank++)
        {
            if (rank == _thread.Rank || (_thread.Rank != 0 && rank != 0))
                continue;
            while (Hear(rank, BeatTag, MemoryMarshal.AsBytes(new Span<Beat>(ref beat))))
                _watch.Hear(rank, beat, now);
        }
    }

    private bool Hear(int from, int tag, Span<byte> into)
    {
        int isThere;
        _thread.Check(_library.Probe(from, tag, _communicator, &isThere, _library.StatusIgnore), "MPI_Iprobe");
        if (isThere == 0)
            return false;
        fixed (byte* at = into)
            _thread.Check(
                _library.Receive((nint)at, into.Length, _library.Bytes, from, tag, _communicator, _library.StatusIgnore),
                "MPI_Recv"
            );
        return true;
    }

    private void Send(int to, int tag, ReadOnlySpan<byte> letter)
    {
        var buffer = (nint)NativeMemory.Alloc((nuint)letter.Length);
        letter.CopyTo(new Span<byte>((void*)buffer, letter.Length));
        nint request;
        _thread.Check(_library.BeginSend(buffer, letter.Length, _library.Bytes, to, tag, _communicator, &request), "MPI_Isend");
        _sent.Add((request, buffer));
    }

    private bool HasGone((nint Request, nint Buffer) letter)
    {
        int flag;
        _thread.Check(_library.Test(&letter.Request, &flag, _library.StatusIgnore), "MPI_Test");
        if (flag != 0)
            NativeMemory.Free((void*)letter.Buffer);
        return flag != 0;
    }
}
