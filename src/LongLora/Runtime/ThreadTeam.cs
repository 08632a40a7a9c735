using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Runs short loops on the threads that libtorch's own operators use. A token's products take tens of microseconds each; threads of a
/// second pool would compete with libtorch's, which go on looking for work for a while after each operator.
/// </summary>
/// <remarks>
/// libtorch for Linux is built with GNU OpenMP, whose <c>GOMP_parallel</c> runs a function on every thread of the team. Where it is not
/// found (Windows, macOS), <see cref="Parallel"/> does the work.
/// </remarks>
internal static unsafe class ThreadTeam
{
    // Each thread takes several pieces, because another process may hold up one of them.
    private const int PiecesPerThread = 4;

    private static readonly delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<void*, void>, void*, uint, uint, void> s_parallel =
        Find();

    /// <summary>Runs a loop body over [0, count) in pieces; returns when all are done.</summary>
    /// <param name="count">Number of iterations.</param>
    /// <param name="grain">Fewest iterations that are worth another thread.</param>
    /// <param name="body">Gets first iteration and number of iterations; called on several threads at once.</param>
    /// <exception cref="Exception">The first exception of a body, on the calling thread.</exception>
    public static void Run(long count, long grain, Action<long, long> body)
    {
        var threads = (int)Math.Min(get_num_threads(), count / Math.Max(1, grain));
        if (threads <= 1)
        {
            body(0, count);
            return;
        }
        Run(threads, new(count, Math.Min(threads * PiecesPerThread, count / Math.Max(1, grain)), body));
    }

    /// <summary>
    /// Runs a loop body over [0, count), one iteration after the other as threads become free, in their order. An iteration may wait for
    /// an earlier one: that one has been started by a thread that is at work.
    /// </summary>
    /// <param name="count">Number of iterations.</param>
    /// <param name="threads">The most threads that are worth it.</param>
    /// <param name="body">Gets an iteration; called on several threads at once. If it fails, it must free those that wait for it.</param>
    /// <exception cref="Exception">The first exception of a body, on the calling thread.</exception>
    public static void RunInOrder(long count, long threads, Action<long> body)
    {
        threads = Math.Min(Math.Min(get_num_threads(), threads), count);
        var work = new Work(count, count, (first, _) => body(first));
        if (threads <= 1)
        {
            work.Run();
            work.ThrowFailure();
        }
        else
            Run((int)threads, work);
    }

    private static void Run(int threads, Work work)
    {
        if (s_parallel is null)
            Parallel.For(0, threads, _ => work.Run());
        else
        {
            var handle = GCHandle.Alloc(work);
            try
            {
                s_parallel(&RunOnThread, (void*)GCHandle.ToIntPtr(handle), (uint)threads, 0);
            }
            finally
            {
                handle.Free();
            }
        }
        work.ThrowFailure();
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static void RunOnThread(void* work) => ((Work)GCHandle.FromIntPtr((nint)work).Target!).Run();

    // Symbols of a library are also looked for in those that it depends on.
    private static delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<void*, void>, void*, uint, uint, void> Find()
    {
        LibTorch.EnsureLoaded();
        return
            NativeLibrary.TryLoad("torch_cpu", typeof(ThreadTeam).Assembly, null, out var library)
            && NativeLibrary.TryGetExport(library, "GOMP_parallel", out var address)
            ? (delegate* unmanaged[Cdecl]<delegate* unmanaged[Cdecl]<void*, void>, void*, uint, uint, void>)address
            : null;
    }

    private sealed class Work(long count, long pieces, Action<long, long> body)
    {
        private long _taken;
        private Exception? _failure;

        // An exception must not reach the native caller.
        public void Run()
        {
            try
            {
                for (long piece; (piece = Interlocked.Increment(ref _taken) - 1) < pieces; )
                {
                    var first = count * piece / pieces;
                    body(first, count * (piece + 1) / pieces - first);
                }
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref _failure, e, null);
            }
        }

        public void ThrowFailure()
        {
            if (_failure is { } failure)
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(failure);
        }
    }
}
