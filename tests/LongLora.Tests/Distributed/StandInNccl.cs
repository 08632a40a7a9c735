using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>
/// NCCL's functions in C#, for ranks that are threads and tensors in the host's memory. As on a GPU, a call only queues work on a stream.
/// </summary>
internal static unsafe class StandInNccl
{
    private static readonly ConcurrentDictionary<long, StandInGroup> s_groups = new();
    private static readonly ConcurrentDictionary<nint, (StandInGroup Group, int Rank)> s_members = new();
    private static readonly ConcurrentDictionary<nint, int> s_numbers = new();
    private static readonly nint s_error = Marshal.StringToCoTaskMemUTF8("an error of the stand-in"),
        s_nothing = Marshal.StringToCoTaskMemUTF8("");

    private static long s_lastId;
    private static long s_lastMember;

    [ThreadStatic]
    private static List<StandInOperation>? s_open;

    [ThreadStatic]
    private static nint s_openStream;

    /// <summary>The table of its functions.</summary>
    internal static NcclApi Api { get; } =
        new(name =>
            name switch
            {
                "ncclGetVersion" => (nint)(delegate* unmanaged[Cdecl]<int*, int>)&GetVersion,
                "ncclGetUniqueId" => (nint)(delegate* unmanaged[Cdecl]<NcclId*, int>)&GetUniqueId,
                "ncclCommInitRank" => (nint)(delegate* unmanaged[Cdecl]<nint*, int, NcclId, int, int>)&Join,
                "ncclCommDestroy" or "ncclCommAbort" => (nint)(delegate* unmanaged[Cdecl]<nint, int>)&Leave,
                "ncclCommGetAsyncError" => (nint)(delegate* unmanaged[Cdecl]<nint, int*, int>)&GetAsyncError,
                "ncclGetErrorString" => (nint)(delegate* unmanaged[Cdecl]<int, nint>)&GetErrorString,
                "ncclGetLastError" => (nint)(delegate* unmanaged[Cdecl]<nint, nint>)&GetLastError,
                "ncclAllReduce" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&AllReduce,
                "ncclReduceScatter" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&ReduceScatter,
                "ncclReduce" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, int, nint, nint, int>)&Reduce,
                "ncclAllGather" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int>)&AllGather,
                "ncclBroadcast" => (nint)(delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>)&Broadcast,
                "ncclSend" => (nint)(delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)&Send,
                "ncclRecv" => (nint)(delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>)&Receive,
                "ncclGroupStart" => (nint)(delegate* unmanaged[Cdecl]<int>)&GroupStart,
                "ncclGroupEnd" => (nint)(delegate* unmanaged[Cdecl]<int>)&GroupEnd,
                _ => throw new EntryPointNotFoundException(name),
            }
        );

    /// <summary>A communicator over the stand-in.</summary>
    /// <param name="host">Ranks that are threads.</param>
    /// <param name="limit">Longest wait for an operation; null for a minute.</param>
    internal static NcclCommunicator Open(ICommunicator host, TimeSpan? limit = null) =>
        NcclCommunicator.Open(host, Api, () => new StandInStream(), limit ?? TimeSpan.FromMinutes(1));

    private static ScalarType TypeOf(int code) =>
        code switch
        {
            1 => ScalarType.Byte,
            4 => ScalarType.Int64,
            7 => ScalarType.Float32,
            8 => ScalarType.Float64,
            _ => throw new NotSupportedException($"type {code}"),
        };

    // Part of each rank in what all do, on the stream or in the open group.
    private static int Queue(nint communicator, nint stream, Func<StandInGroup, int, StandInOperation> make)
    {
        if (!s_members.TryGetValue(communicator, out var member))
            return 4;
        var operation = make(member.Group, member.Rank);
        if (s_open is null)
            StandInStream.Find(stream).Add([operation]);
        else
        {
            s_open.Add(operation);
            s_openStream = stream;
        }
        return 0;
    }

    private static int QueueForAll(nint communicator, nint stream, nint from, nint to, Action<IReadOnlyList<StandInOperation>> carryOut) =>
        Queue(communicator, stream, (group, rank) =>
            new(group, rank, from, to) { CarryOut = carryOut, Number = s_numbers.AddOrUpdate(communicator, 0, (_, last) => last + 1) }
        );

    // In the order of the ranks.
    private static Tensor Combine(IReadOnlyList<StandInOperation> all, ScalarType type, int operation, long count)
    {
        var result = StandInGroup.At(all[0].From, type, count).clone();
        foreach (var one in all.Skip(1))
        {
            var next = StandInGroup.At(one.From, type, count);
            if (operation == 0)
                result.add_(next, Scalars.One);
            else
                result.copy_(maximum(result, next));
        }
        return result;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetVersion(int* version)
    {
        *version = 22809;
        return 0;
    }

    // The id fills its 128 bytes, so one that does not arrive whole is not found.
    private static void Fill(NcclId* id, long number)
    {
        for (var i = 0; i < NcclId.Size; i++)
            id->Bytes[i] = (byte)(number * 31 + i * 7);
        *(long*)id->Bytes = number;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetUniqueId(NcclId* id)
    {
        Fill(id, Interlocked.Increment(ref s_lastId));
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Join(nint* communicator, int size, NcclId id, int rank)
    {
        var number = *(long*)id.Bytes;
        NcclId whole;
        Fill(&whole, number);
        if (!new ReadOnlySpan<byte>(id.Bytes, NcclId.Size).SequenceEqual(new ReadOnlySpan<byte>(whole.Bytes, NcclId.Size)))
            return 4;
        var group = s_groups.GetOrAdd(number, _ => new StandInGroup(size));
        lock (group)
        {
            group.Joined++;
            Monitor.PulseAll(group);
            while (group.Joined < size)
            {
                if (!Monitor.Wait(group, TimeSpan.FromSeconds(30)))
                    return 6;
            }
        }
        *communicator = (nint)Interlocked.Increment(ref s_lastMember);
        s_members[*communicator] = (group, rank);
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Leave(nint communicator) => s_members.TryRemove(communicator, out _) ? 0 : 4;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GetAsyncError(nint communicator, int* state)
    {
        *state = NcclApi.InProgress;
        return s_members.ContainsKey(communicator) ? 0 : 4;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint GetErrorString(int code) => code == 0 ? s_nothing : s_error;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint GetLastError(nint communicator) => s_nothing;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int AllReduce(nint from, nint to, nuint count, int type, int operation, nint communicator, nint stream) =>
        QueueForAll(communicator, stream, from, to, all =>
        {
            var result = Combine(all, TypeOf(type), operation, (long)count);
            foreach (var one in all)
                StandInGroup.At(one.To, TypeOf(type), (long)count).copy_(result);
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int ReduceScatter(nint from, nint to, nuint count, int type, int operation, nint communicator, nint stream) =>
        QueueForAll(communicator, stream, from, to, all =>
        {
            var result = Combine(all, TypeOf(type), operation, (long)count * all.Count);
            foreach (var one in all)
                StandInGroup.At(one.To, TypeOf(type), (long)count).copy_(result.narrow(0, one.Rank * (long)count, (long)count));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Reduce(nint from, nint to, nuint count, int type, int operation, int root, nint communicator, nint stream) =>
        QueueForAll(communicator, stream, from, to, all =>
            StandInGroup.At(all[root].To, TypeOf(type), (long)count).copy_(Combine(all, TypeOf(type), operation, (long)count))
        );

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int AllGather(nint from, nint to, nuint count, int type, nint communicator, nint stream) =>
        QueueForAll(communicator, stream, from, to, all =>
        {
            var whole = cat([.. all.Select(one => StandInGroup.At(one.From, TypeOf(type), (long)count))]);
            foreach (var one in all)
                StandInGroup.At(one.To, TypeOf(type), whole.numel()).copy_(whole);
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Broadcast(nint from, nint to, nuint count, int type, int root, nint communicator, nint stream) =>
        QueueForAll(communicator, stream, from, to, all =>
        {
            foreach (var one in all.Where(o => o.Rank != root))
                StandInGroup.At(one.To, TypeOf(type), (long)count).copy_(StandInGroup.At(all[root].From, TypeOf(type), (long)count));
        });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Send(nint data, nuint count, int type, int peer, nint communicator, nint stream) =>
        QueueMessage(data, (long)count, peer, communicator, stream, isSend: true);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Receive(nint data, nuint count, int type, int peer, nint communicator, nint stream) =>
        QueueMessage(data, (long)count, peer, communicator, stream, isSend: false);

    private static int QueueMessage(nint data, long bytes, int peer, nint communicator, nint stream, bool isSend) =>
        Queue(communicator, stream, (group, rank) => new(group, rank, data, data)
            {
                Peer = peer,
                IsSend = isSend,
                Bytes = bytes,
            });

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GroupStart()
    {
        s_open = [];
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int GroupEnd()
    {
        if (s_open is { Count: > 0 } operations)
            StandInStream.Find(s_openStream).Add(operations);
        s_open = null;
        return 0;
    }
}
