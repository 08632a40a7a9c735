using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace LongLora.Documents.Workers;

/// <summary>One worker process, and what ends it.</summary>
internal sealed class DocumentWorker : IDisposable
{
    private static readonly TimeSpan s_startTime = TimeSpan.FromSeconds(60),
        s_interval = TimeSpan.FromMilliseconds(200);

    private readonly Process _process;
    private readonly DocumentWorkerOptions _options;
    private readonly StringBuilder _errors = new();
    private readonly Timer _watch;
    private TimeSpan _usedBefore;
    private long _deadline = long.MaxValue;
    private volatile bool _isDisposed;

    private DocumentWorker(Process process, DocumentWorkerOptions options)
    {
        (_process, _options) = (process, options);
        Frames = new FrameStream(process.StandardOutput.BaseStream, process.StandardInput.BaseStream);
        process.ErrorDataReceived += (_, line) => Keep(line.Data);
        process.BeginErrorReadLine();
        _watch = new Timer(_ => Watch());
    }

    /// <summary>The pipes.</summary>
    public FrameStream Frames { get; }

    /// <summary>Why this program ended it; null if it did not.</summary>
    public WorkerEnd? End { get; private set; }

    /// <summary>Whether it still runs.</summary>
    public bool IsAlive => !_isDisposed && !_process.HasExited;

    /// <summary>Processor time that the file which is read may use. It grows with what is known about the file.</summary>
    public TimeSpan Budget { get; set; }

    /// <summary>Starts a worker and waits until it is ready.</summary>
    /// <exception cref="IOException">It does not start. The message is the end of a sentence.</exception>
    public static DocumentWorker Start(DocumentWorkerOptions options)
    {
        Process process;
        try
        {
            process = Process.Start(WorkerCommand.Make(options.MemoryBytes))!;
        }
        catch (Exception e) when (e is Win32Exception or InvalidOperationException or PlatformNotSupportedException)
        {
            throw new IOException($"no worker process could be started ({e.Message.TrimEnd('.')})", e);
        }
        var worker = new DocumentWorker(process, options);
        worker.SetDeadline(s_startTime);
        try
        {
            if (worker.Frames.Read() == FrameKind.Ready)
            {
                worker.Rest();
                return worker;
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // What it wrote to its standard error says why.
        }
        var said = worker.WaitForEnd();
        worker.Dispose();
        throw new IOException($"its worker process did not start{(said.Length > 0 ? $" ({said.Split('\n')[0]})" : "")}");
    }

    /// <summary>Starts to watch the worker, which gets a file.</summary>
    public void Begin(TimeSpan budget)
    {
        (Budget, _deadline) = (budget, long.MaxValue);
        _usedBefore = GetUsed();
        _watch.Change(s_interval, s_interval);
    }

    /// <summary>Ends the worker unless it is done with its file by then.</summary>
    public void SetDeadline(TimeSpan time)
    {
        Budget = TimeSpan.MaxValue;
        _deadline = Environment.TickCount64 + (long)time.TotalMilliseconds;
        _watch.Change(s_interval, s_interval);
    }

    /// <summary>Stops watching: the worker has nothing to do.</summary>
    public void Rest()
    {
        _deadline = long.MaxValue;
        _watch.Change(Timeout.Infinite, Timeout.Infinite);
    }

    /// <summary>Ends the worker now. Whoever reads from it sees that its pipe has ended.</summary>
    public void Kill(WorkerEnd why)
    {
        End ??= why;
        try
        {
            _process.Kill();
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception)
        {
            // It has ended.
        }
    }

    /// <summary>Waits until the process has ended.</summary>
    /// <returns>The start of what it wrote to its standard error.</returns>
    public string WaitForEnd()
    {
        // A process that crashes writes why, and only then ends.
        if (!_process.WaitForExit(TimeSpan.FromSeconds(20)))
            Kill(WorkerEnd.Abandoned);
        _process.WaitForExit();
        lock (_errors)
            return _errors.ToString();
    }

    /// <summary>How the process ended, for a message.</summary>
    public string ExitCode => _process.HasExited ? _process.ExitCode.ToString(CultureInfo.InvariantCulture) : "?";

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed)
            return;
        _isDisposed = true;
        _watch.Dispose();
        Kill(WorkerEnd.Abandoned);
        _process.Dispose();
    }

    private void Watch()
    {
        try
        {
            if (_isDisposed || _process.HasExited)
                return;
            if (Environment.TickCount64 > _deadline)
                Kill(WorkerEnd.Abandoned);
            else if (Budget < TimeSpan.MaxValue && GetUsed() - _usedBefore > Budget)
                Kill(WorkerEnd.Time);
            else if (_process.WorkingSet64 > _options.MemoryBytes + (512 << 20))
                Kill(WorkerEnd.Memory);
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception)
        {
            // It ended in this moment.
        }
    }

    private TimeSpan GetUsed()
    {
        _process.Refresh();
        return _process.TotalProcessorTime;
    }

    private void Keep(string? line)
    {
        lock (_errors)
        {
            if (line is not null && _errors.Length < 4000)
                _errors.Append(line).Append('\n');
        }
    }
}
