using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// The tensors of a GGUF model with Hugging Face's names and row order. F32, F16 and BF16 tensors are memory-mapped if the order is the
/// same; others are decoded to fp32 when they are opened, one at a time.
/// </summary>
internal sealed class GgufTensors : ITensorSource
{
    private readonly GgufFileSet _files;
    private readonly GgufLayout _layout;
    private readonly ModelConfig _config;
    private readonly OrderedDictionary<string, TensorInfo> _tensors = new(StringComparer.Ordinal);
    private bool _closed;

    /// <summary>Maps every tensor to its name.</summary>
    /// <param name="files">The files; they are closed with this source.</param>
    /// <param name="layout">Names and row orders.</param>
    /// <param name="config">Has the sizes of the heads.</param>
    /// <exception cref="CheckpointException">A tensor is not part of a model of this architecture.</exception>
    public GgufTensors(GgufFileSet files, GgufLayout layout, ModelConfig config)
    {
        (_files, _layout, _config) = (files, layout, config);
        foreach (var (name, (info, file)) in files.Tensors)
        {
            if (GgufRope.Tensors.Contains(name))
                continue;
            var known = layout.FromFile(name)
                ?? throw new CheckpointException(
                    $"{file.Path}: the tensor '{name}' [{string.Join(", ", info.Shape)}] is not part of a supported "
                        + $"'{layout.Architecture}' model."
                );
            if (_layout.RowsInFile(known, config) is { } rows && rows.Length != info.Shape[0])
                throw new CheckpointException(
                    $"{file.Path}: '{name}' is [{string.Join(", ", info.Shape)}], but its heads have {rows.Length} rows."
                );
            _tensors.Add(
                known,
                new TensorInfo(known, OpenedType(info.Type), info.Shape, file.Path)
                {
                    Blocks = GgufFormat.BlockSize(info.Type) > 1 ? GgufFormat.Name(info.Type) : null,
                }
            );
        }
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <inheritdoc/>
    public unsafe Tensor Open(string name)
    {
        var matrix = Matrix(name);
        LibTorch.EnsureLoaded();
        var type = OpenedType(matrix.Info.Type);
        if (GgufFormat.BlockSize(matrix.Info.Type) > 1)
        {
            var decoded = empty([.. matrix.Info.Shape], ScalarType.Float32);
            matrix.Decode((0, matrix.Rows), (0, matrix.Columns), (float*)NativeTensor.GetPointer(decoded));
            return decoded;
        }
        if (matrix.RowsInFile is null && matrix.Address % GgufFormat.BlockBytes(matrix.Info.Type) == 0)
            return NativeTensor.FromMemory(matrix.Address, type, matrix.Info.Shape);
        var copy = empty([.. matrix.Info.Shape], type);
        matrix.CopyRows(NativeTensor.GetPointer(copy));
        return copy;
    }

    /// <summary>The blocks of a tensor as they are stored; null if its type has none.</summary>
    /// <exception cref="CheckpointException">There is no tensor of that name.</exception>
    public GgufMatrix? Blocks(string name)
    {
        var matrix = Matrix(name);
        return GgufFormat.BlockSize(matrix.Info.Type) > 1 ? matrix : null;
    }

    /// <summary>Closes the files; tensors from them must not be used afterwards.</summary>
    public void Dispose()
    {
        _closed = true;
        _files.Dispose();
    }

    private GgufMatrix Matrix(string name)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        if (!_tensors.ContainsKey(name))
            throw new CheckpointException($"{_files.Main.Path} has no tensor '{name}'.{NearestName.Hint(name, _tensors.Keys)}");
        var stored = _layout.ToFile(name);
        var file = _files.Tensors[stored].File;
        var (info, address) = file.Find(stored);
        return new GgufMatrix(info, address, _layout.RowsInFile(name, _config), file.Path);
    }

    private static ScalarType OpenedType(GgufType type) =>
        type switch
        {
            GgufType.F16 => ScalarType.Float16,
            GgufType.Bf16 => ScalarType.BFloat16,
            _ => ScalarType.Float32,
        };
}
