using System.Runtime.InteropServices;
using LongLora.Runtime;
using static TorchSharp.torch;
using unsafe CollectiveCall = delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, nint, nint, int>;
using unsafe CommunicatorCall = delegate* unmanaged[Cdecl]<nint, int>;
using unsafe GatherCall = delegate* unmanaged[Cdecl]<nint, nint, nuint, int, nint, nint, int>;
using unsafe GroupCall = delegate* unmanaged[Cdecl]<int>;
using unsafe JoinCall = delegate* unmanaged[Cdecl]<nint*, int, LongLora.Distributed.NcclId, int, int>;
using unsafe PeerCall = delegate* unmanaged[Cdecl]<nint, nuint, int, int, nint, nint, int>;
using unsafe ReduceCall = delegate* unmanaged[Cdecl]<nint, nint, nuint, int, int, int, nint, nint, int>;

namespace LongLora.Distributed;

/// <summary>
/// The functions of NCCL as a table, so that they can come from libtorch, which has NCCL inside or depends on it, from a library of its
/// own, or from a test. Each gives 0 if all is well. Not yet run on a GPU.
/// </summary>
/// <param name="find">Gives the address of a function.</param>
internal sealed unsafe class NcclApi(Func<string, nint> find)
{
    /// <summary>Chooses NCCL: 1 for that of libtorch, or the path of a library.</summary>
    internal const string Variable = "LONGLORA_NCCL";

    /// <summary>What a communicator says while an operation goes on.</summary>
    internal const int InProgress = 7;

    private const string Own = "libnccl.so.2",
        FirstFunction = "ncclGetUniqueId";

    internal readonly delegate* unmanaged[Cdecl]<int*, int> GetVersion = (delegate* unmanaged[Cdecl]<int*, int>)find("ncclGetVersion");

    internal readonly delegate* unmanaged[Cdecl]<NcclId*, int> GetUniqueId = (delegate* unmanaged[Cdecl]<NcclId*, int>)find(FirstFunction);

    // communicator, ranks, id, rank
    internal readonly JoinCall Join = (JoinCall)find("ncclCommInitRank");

    internal readonly CommunicatorCall Destroy = (CommunicatorCall)find("ncclCommDestroy");

    internal readonly CommunicatorCall Abort = (CommunicatorCall)find("ncclCommAbort");

    internal readonly delegate* unmanaged[Cdecl]<nint, int*, int> GetAsyncError = (delegate* unmanaged[Cdecl]<nint, int*, int>)find(
        "ncclCommGetAsyncError"
    );

    private readonly delegate* unmanaged[Cdecl]<int, byte*> _getErrorString = (delegate* unmanaged[Cdecl]<int, byte*>)find(
        "ncclGetErrorString"
    );

    private readonly delegate* unmanaged[Cdecl]<nint, byte*> _getLastError = (delegate* unmanaged[Cdecl]<nint, byte*>)find(
        "ncclGetLastError"
    );

    // from, to, elements, type, reduction, communicator, stream
    internal readonly CollectiveCall AllReduce = (CollectiveCall)find("ncclAllReduce");

    // from, to, elements of a part, type, reduction, communicator, stream
    internal readonly CollectiveCall ReduceScatter = (CollectiveCall)find("ncclReduceScatter");

    // from, to, elements, type, reduction, root, communicator, stream
    internal readonly ReduceCall Reduce = (ReduceCall)find("ncclReduce");

    // from, to, elements of a part, type, communicator, stream
    internal readonly GatherCall AllGather = (GatherCall)find("ncclAllGather");

    // from, to, elements, type, root, communicator, stream
    internal readonly CollectiveCall Broadcast = (CollectiveCall)find("ncclBroadcast");

    // data, elements, type, peer, communicator, stream
    internal readonly PeerCall Send = (PeerCall)find("ncclSend");

    internal readonly PeerCall Receive = (PeerCall)find("ncclRecv");

    internal readonly GroupCall GroupStart = (GroupCall)find("ncclGroupStart");

    internal readonly GroupCall GroupEnd = (GroupCall)find("ncclGroupEnd");

    /// <summary>ncclUint8: what is only moved goes as bytes.</summary>
    internal const int Bytes = 1;

    /// <summary>Finds NCCL in the process, or loads it.</summary>
    /// <param name="named">The value of <see cref="Variable"/>.</param>
    /// <exception cref="ConfigurationException">There is none.</exception>
    internal static NcclApi Load(string named)
    {
        // Symbols that libtorch's library leaves to others are found through it as well.
        foreach (var name in named == "1" ? (string[])["libtorch_cuda.so", Own] : [named])
        {
            if (NativeLibrary.TryLoad(name, out var library) && NativeLibrary.TryGetExport(library, FirstFunction, out _))
                return new NcclApi(function => NativeLibrary.GetExport(library, function));
        }
        throw new ConfigurationException(
            $"{Variable} is '{named}', but NCCL is not {(named == "1" ? $"in libtorch and there is no {Own}" : "there")}. Set it to the "
                + "path of a library of NCCL, or unset it: then ranks exchange through the host's memory."
        );
    }

    /// <summary>Type of numbers that are reduced.</summary>
    internal static int TypeOf(ScalarType type) =>
        type switch
        {
            ScalarType.Int64 => 4,
            ScalarType.Float32 => 7,
            ScalarType.Float64 => 8,
            _ => throw new ShapeException($"Cannot reduce a tensor of {type} over ranks. Use int64, fp32 or fp64."),
        };

    /// <summary>A reduction.</summary>
    internal static int OperationOf(Reduction reduction) => reduction == Reduction.Sum ? 0 : 2;

    /// <summary>What a code means, and what NCCL adds to it.</summary>
    internal string Explain(int code, nint communicator)
    {
        var last = Marshal.PtrToStringUTF8((nint)_getLastError(communicator));
        return $"{Marshal.PtrToStringUTF8((nint)_getErrorString(code))} ({code}){(string.IsNullOrEmpty(last) ? "" : $", {last.Trim()}")}";
    }
}
