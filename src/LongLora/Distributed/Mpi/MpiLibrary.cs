using System.Runtime.InteropServices;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>
/// The MPI library of the launcher and the functions that are used of it. One program speaks to Open MPI, whose handles are addresses, and
/// to MPICH and its kin, whose handles are numbers fixed by their common ABI. A process that is not in a job loads none of it.
/// </summary>
internal sealed unsafe class MpiLibrary
{
    private const int Now = 0x2,
        Global = 0x100; // RTLD_NOW | RTLD_GLOBAL: plug-ins of Open MPI look for its symbols

    private readonly nint _library;
    private readonly bool _isOpenMpi;

    private MpiLibrary(nint library)
    {
        _library = library;
        _isOpenMpi = NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out _);
        World = Handle("ompi_mpi_comm_world", 0x44000000);
        Bytes = Handle("ompi_mpi_byte", 0x4c00010d);
        ErrorsReturn = Handle("ompi_mpi_errors_return", 0x54000001);
        InPlace = _isOpenMpi ? 1 : -1;
        StatusIgnore = _isOpenMpi ? 0 : 1;
        Info = Handle("ompi_mpi_info_null", 0x1c000000);
        InitThread = (delegate* unmanaged<nint, nint, int, int*, int>)Function("MPI_Init_thread");
        Finalize = (delegate* unmanaged<int>)Function("MPI_Finalize");
        CommRank = (delegate* unmanaged<nint, int*, int>)Function("MPI_Comm_rank");
        CommSize = (delegate* unmanaged<nint, int*, int>)Function("MPI_Comm_size");
        CommDup = (delegate* unmanaged<nint, nint*, int>)Function("MPI_Comm_dup");
        CommSplit = (delegate* unmanaged<nint, int, int, nint*, int>)Function("MPI_Comm_split");
        CommSplitType = (delegate* unmanaged<nint, int, int, nint, nint*, int>)Function("MPI_Comm_split_type");
        CommFree = (delegate* unmanaged<nint*, int>)Function("MPI_Comm_free");
        SetErrorHandler = (delegate* unmanaged<nint, nint, int>)Function("MPI_Comm_set_errhandler");
        Abort = (delegate* unmanaged<nint, int, int>)Function("MPI_Abort");
        Test = (delegate* unmanaged<nint*, int*, nint, int>)Function("MPI_Test");
        Probe = (delegate* unmanaged<int, int, nint, int*, nint, int>)Function("MPI_Iprobe");
        Receive = (delegate* unmanaged<nint, int, nint, int, int, nint, nint, int>)Function("MPI_Recv");
        BeginSend = (delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int>)Function("MPI_Isend");
        BeginReceive = (delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int>)Function("MPI_Irecv");
        BeginBarrier = (delegate* unmanaged<nint, nint*, int>)Function("MPI_Ibarrier");
        BeginBroadcast = (delegate* unmanaged<nint, int, nint, int, nint, nint*, int>)Function("MPI_Ibcast");
        BeginAllReduce = (delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int>)Function("MPI_Iallreduce");
        BeginReduce = (delegate* unmanaged<nint, nint, int, nint, nint, int, nint, nint*, int>)Function("MPI_Ireduce");
        AllGather = (delegate* unmanaged<nint, int, nint, nint, int, nint, nint, int>)Function("MPI_Allgather");
        _errorText = (delegate* unmanaged<int, byte*, int*, int>)Function("MPI_Error_string");
        _version = (delegate* unmanaged<byte*, int*, int>)Function("MPI_Get_library_version");
    }

    /// <summary>The communicator of all processes.</summary>
    internal nint World { get; }

    /// <summary>The type of raw bytes.</summary>
    internal nint Bytes { get; }

    /// <summary>Handler that gives errors back as codes.</summary>
    internal nint ErrorsReturn { get; }

    /// <summary>In the place of a buffer: the other one is both.</summary>
    internal nint InPlace { get; }

    /// <summary>In the place of a status that nobody reads.</summary>
    internal nint StatusIgnore { get; }

    /// <summary>No hints.</summary>
    internal nint Info { get; }

    /// <summary>MPI_COMM_TYPE_SHARED: ranks of one machine.</summary>
    internal int SharedMemory => _isOpenMpi ? 0 : 1;

    internal readonly delegate* unmanaged<nint, nint, int, int*, int> InitThread;
    internal readonly delegate* unmanaged<int> Finalize;
    internal readonly delegate* unmanaged<nint, int*, int> CommRank;
    internal readonly delegate* unmanaged<nint, int*, int> CommSize;
    internal readonly delegate* unmanaged<nint, nint*, int> CommDup;
    internal readonly delegate* unmanaged<nint, int, int, nint*, int> CommSplit;
    internal readonly delegate* unmanaged<nint, int, int, nint, nint*, int> CommSplitType;
    internal readonly delegate* unmanaged<nint*, int> CommFree;
    internal readonly delegate* unmanaged<nint, nint, int> SetErrorHandler;
    internal readonly delegate* unmanaged<nint, int, int> Abort;
    internal readonly delegate* unmanaged<nint*, int*, nint, int> Test;
    internal readonly delegate* unmanaged<int, int, nint, int*, nint, int> Probe;
    internal readonly delegate* unmanaged<nint, int, nint, int, int, nint, nint, int> Receive;
    internal readonly delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int> BeginSend;
    internal readonly delegate* unmanaged<nint, int, nint, int, int, nint, nint*, int> BeginReceive;
    internal readonly delegate* unmanaged<nint, nint*, int> BeginBarrier;
    internal readonly delegate* unmanaged<nint, int, nint, int, nint, nint*, int> BeginBroadcast;
    internal readonly delegate* unmanaged<nint, nint, int, nint, nint, nint, nint*, int> BeginAllReduce;
    internal readonly delegate* unmanaged<nint, nint, int, nint, nint, int, nint, nint*, int> BeginReduce;
    internal readonly delegate* unmanaged<nint, int, nint, nint, int, nint, nint, int> AllGather;
    private readonly delegate* unmanaged<int, byte*, int*, int> _errorText;
    private readonly delegate* unmanaged<byte*, int*, int> _version;

    /// <summary>Name and version of the library, on one line.</summary>
    internal string Version
    {
        get
        {
            var text = stackalloc byte[8192];
            int length;
            if (_version(text, &length) != 0)
                return "MPI";
            var line = Marshal.PtrToStringUTF8((nint)text, length).Split('\n', ',')[0].TrimEnd('\0');
            return string.Join(
                ' ',
                line.Replace("Version:", " ", StringComparison.Ordinal).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
            );
        }
    }

    /// <summary>Loads the first of the launcher's libraries that is there.</summary>
    /// <exception cref="ConfigurationException">There is none.</exception>
    internal static MpiLibrary Load(Launcher launcher)
    {
        foreach (var name in launcher.Libraries)
        {
            var library = Posix.OpenLibrary(name, Now | Global);
            if (library != 0)
                return new MpiLibrary(library);
        }
        throw new ConfigurationException(
            $"Cannot join the job of {launcher.Name} because none of its libraries is installed: {string.Join(", ", launcher.Libraries)}. "
                + "Install the MPI that the launcher belongs to (openmpi-bin, or mpich) on every machine, or add its folder to "
                + "LD_LIBRARY_PATH."
        );
    }

    /// <summary>MPI's type for that of a tensor.</summary>
    internal nint TypeOf(ScalarType type) =>
        type switch
        {
            ScalarType.Int64 => Handle("ompi_mpi_int64_t", 0x4c00083a),
            ScalarType.Float32 => Handle("ompi_mpi_float", 0x4c00040a),
            ScalarType.Float64 => Handle("ompi_mpi_double", 0x4c00080b),
            _ => throw new ShapeException($"MPI does not add {type}."),
        };

    /// <summary>MPI's operation.</summary>
    internal nint OperationOf(Reduction reduction) =>
        reduction == Reduction.Sum ? Handle("ompi_mpi_op_sum", 0x58000003) : Handle("ompi_mpi_op_max", 0x58000001);

    /// <summary>The library's words for an error code.</summary>
    internal string Explain(int code)
    {
        var text = stackalloc byte[1024];
        int length;
        return _errorText(code, text, &length) == 0 ? Marshal.PtrToStringUTF8((nint)text, length).TrimEnd('\0') : $"MPI error {code}";
    }

    private nint Handle(string ofOpenMpi, int ofMpich) => _isOpenMpi ? NativeLibrary.GetExport(_library, ofOpenMpi) : ofMpich;

    private void* Function(string name) => (void*)NativeLibrary.GetExport(_library, name);
}
