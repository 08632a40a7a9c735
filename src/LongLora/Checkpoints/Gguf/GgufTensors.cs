using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

// E experts

/// <summary>
/// The tensors of a GGUF model under Hugging Face's names and in its layout. F32, F16 and BF16 tensors are the mapped file where the
/// layouts
/// are the same; others are made when they are opened, one at a time, in fp32 where they are stored in blocks or their numbers differ.
/// </summary>
internal sealed class GgufTensors : ITensorSource
{
    private readonly GgufFileSet _files;
    private readonly GgufLayout _layout;
    private readonly ModelConfig _config;
    private readonly OrderedDictionary<string, TensorInfo> _tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<GgufPlace>> _places = new(StringComparer.Ordinal);
    private readonly Dictionary<string, float> _numbers = new(StringComparer.Ordinal);
    private bool _closed;

    /// <summary>Maps every tensor to its name.</summary>
    /// <param name="files">The files; they are closed with this source.</param>
    /// <param name="layout">Names and orders.</param>
    /// <param name="config">Has the sizes of the heads.</param>
    /// <exception cref="CheckpointException">A tensor has no place in a model of this architecture, or a part of one is
    /// missing.</exception>
    public GgufTensors(GgufFileSet files, GgufLayout layout, ModelConfig config)
    {
        (_files, _layout, _config) = (files, layout, config);
        foreach (var (name, (info, file)) in files.Tensors)
        {
            if (GgufRope.Tensors.Contains(name))
                continue;
            var place = layout.FromFile(name);
            if (place is null && IsFurther(name))
                continue;
            place = place
                ?? throw new CheckpointException(
                    $"{file.Path}: the tensor '{name}' [{string.Join(", ", info.Shape)}] is not part of a supported "
                        + $"'{layout.Architecture}' model."
                );
            if (layout.HasFurtherBlocks && place.Layer >= config.LayerCount)
                continue;
            // Published files have keys and values of layers that use those of others.
            if (place.Layer >= 0 && place.Layer < config.LayerCount && config.GetLayer(place.Layer).KeysOf is not null && IsKey(place.Part))
                continue;
            if (place.Part.Rows?.Invoke(config) is { } rows && rows.Length != info.Shape[0])
                throw new CheckpointException(
                    $"{file.Path}: '{name}' is [{string.Join(", ", info.Shape)}], but its heads have {rows.Length} rows."
                );
            if (place.Part.IsStacked)
            {
                if (info.Shape.Count != 3 || info.Shape[0] != config.Experts?.Count)
                    throw new CheckpointException(
                        $"{file.Path}: '{name}' is [{string.Join(", ", info.Shape)}], but the metadata name {config.Experts?.Count} "
                            + "experts, "
                            + $"each with a matrix."
                    );
                for (var expert = 0; expert < info.Shape[0]; expert++)
                    Add(place with { Expert = expert }, info, [.. info.Shape.Skip(1)], file.Path);
            }
            else
                Add(place, info, place.Part.Shape?.Invoke(info.Shape) ?? info.Shape, file.Path);
        }
        foreach (var (name, places) in _places)
        {
            var missing = layout.PartsOf(places[0].Part.Name).FirstOrDefault(part => places.TrueForAll(p => p.Part != part));
            if (places[0].Layer >= 0 && missing is not null)
                throw new CheckpointException(
                    $"{files.Main.Path} has no tensor 'blk.{places[0].Layer}.{missing.Stored}', which is a part of '{name}'."
                );
        }
        AddNumbers();
    }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors;

    /// <inheritdoc/>
    public unsafe Tensor Open(string name)
    {
        var places = Find(name);
        LibTorch.EnsureLoaded();
        if (_numbers.TryGetValue(name, out var number))
            return empty([.. _tensors[name].Shape], ScalarType.Float32).fill_(Scalars.Of(number));
        if (!places[0].Part.IsPlain)
            return Assemble(_tensors[name], places);
        var matrix = Matrix(places[0]);
        if (
            GgufFormat.BlockSize(matrix.Info.Type) == 1
            && matrix.RowsInFile is null
            && matrix.Address % GgufFormat.BlockBytes(matrix.Info.Type) == 0
        )
            return NativeTensor.FromMemory(matrix.Address, OpenedType(matrix.Info.Type), matrix.Info.Shape);
        return Copy(matrix);
    }

    /// <summary>The blocks of a tensor as they are stored; null where its type has none, or its numbers stand in another layout.</summary>
    /// <exception cref="CheckpointException">There is no tensor of that name.</exception>
    public GgufMatrix? Blocks(string name)
    {
        var places = Find(name);
        if (places.Count == 0 || !places[0].Part.IsPlain)
            return null;
        var matrix = Matrix(places[0]);
        return GgufFormat.BlockSize(matrix.Info.Type) > 1 ? matrix : null;
    }

    /// <summary>
    /// A stack of experts that the file has in MXFP4, as the published gpt-oss has it: two numbers to a byte, U8 [E, O, I / 32, 16], and
    /// the blocks' exponents, U8 [E, O, I / 32]. The file's outputs stand in one tensor or alternate between two. Null for another type.
    /// </summary>
    public unsafe (Tensor Blocks, Tensor Scales)? Packed(string name)
    {
        var matrices = Find(name).ConvertAll(Matrix);
        if (matrices.Count == 0 || !matrices.TrueForAll(m => m.Info is { Type: GgufType.Mxfp4, Shape.Count: 3 }))
            return null;
        const int half = GgufFormat.SmallBlock / 2,
            stored = half + 1;
        var (experts, rows, perRow) = (
            matrices[0].Info.Shape[0],
            matrices[0].Info.Shape[1] * matrices.Count,
            matrices[0].Columns / GgufFormat.SmallBlock
        );
        matrices.ForEach(m => m.RequireFinite());
        LibTorch.EnsureLoaded();
        var blocks = empty([experts, rows, perRow, half], ScalarType.Byte);
        var scales = empty([experts, rows, perRow], ScalarType.Byte);
        var to = (byte*)NativeTensor.GetPointer(blocks);
        var exponents = (byte*)NativeTensor.GetPointer(scales);
        Parallel.For(0, experts * rows, row =>
        {
            var matrix = matrices[(int)(row % matrices.Count)];
            var from = (byte*)matrix.Address + row / matrices.Count * perRow * stored;
            for (var block = 0L; block < perRow; block++, from += stored)
            {
                var at = row * perRow + block;
                exponents[at] = from[0];
                // Byte i has the numbers i and i + 16 there, and 2 i and 2 i + 1 here.
                for (var i = 0; i < half; i++)
                {
                    int Number(int n) => n < half ? from[1 + n] & 15 : from[1 + n - half] >> 4;
                    to[at * half + i] = (byte)(Number(2 * i) | Number(2 * i + 1) << 4);
                }
            }
        });
        return (blocks, scales);
    }

    /// <summary>Closes the files; tensors from them must not be used afterwards.</summary>
    public void Dispose()
    {
        _closed = true;
        _files.Dispose();
    }

    private static bool IsKey(GgufPart part) =>
        part.Name is "self_attn.k_proj.weight" or "self_attn.v_proj.weight" or "self_attn.k_norm.weight";

    // Of a block behind the model's.
    private bool IsFurther(string name) =>
        _layout.HasFurtherBlocks
        && name.Split('.') is ["blk", var layer, ..]
        && int.TryParse(layer, System.Globalization.CultureInfo.InvariantCulture, out var number)
        && number >= _config.LayerCount;

    private void Add(GgufPlace place, GgufTensorInfo info, IReadOnlyList<long> shape, string file)
    {
        var name = _layout.NameOf(place, place.Expert);
        var type = place.Part.Values is null ? OpenedType(info.Type) : ScalarType.Float32;
        var blocks = GgufFormat.BlockSize(info.Type) > 1 ? GgufFormat.Name(info.Type) : null;
        if (!_tensors.TryGetValue(name, out var known))
        {
            _places[name] = [place];
            _tensors.Add(name, new TensorInfo(name, type, shape, file) { Blocks = blocks });
            return;
        }
        if (!known.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{file}: '{info.Name}' is [{string.Join(", ", info.Shape)}], which does not fit the other parts of '{name}'."
            );
        _places[name].Add(place);
        if (known.Type != type)
            _tensors[name] = known with { Type = ScalarType.Float32 };
    }

    private void AddNumbers()
    {
        var keys = new GgufMetadata(_files.Main);
        foreach (var (inner, key, shape) in _layout.Numbers)
        {
            var numbers = keys.NumbersOrNull(key, _config.LayerCount) ?? throw keys.Missing(key);
            for (var layer = 0; layer < numbers.Count; layer++)
            {
                var name = $"{_layout.LayerPrefix}{layer}.{inner}";
                _numbers[name] = numbers[layer];
                _places[name] = [];
                _tensors.Add(name, new TensorInfo(name, ScalarType.Float32, shape, _files.Main.Path));
            }
        }
    }

    private List<GgufPlace> Find(string name)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        return _places.TryGetValue(name, out var places)
            ? places
            : throw new CheckpointException($"{_files.Main.Path} has no tensor '{name}'.{NearestName.Hint(name, _tensors.Keys)}");
    }

    private GgufMatrix Matrix(GgufPlace place)
    {
        var file = _files.Tensors[place.Stored].File;
        var (info, address) = file.Find(place.Stored);
        if (place.Expert is { } expert)
        {
            info = info with { Shape = [.. info.Shape.Skip(1)] };
            address += (nint)(expert * info.ByteCount);
        }
        return new GgufMatrix(info, address, place.Part.Rows?.Invoke(_config), file.Path);
    }

    private static unsafe Tensor Copy(GgufMatrix matrix)
    {
        var copy = empty([.. matrix.Info.Shape], OpenedType(matrix.Info.Type));
        if (GgufFormat.BlockSize(matrix.Info.Type) > 1)
            matrix.Decode((0, matrix.Rows), (0, matrix.Columns), (float*)NativeTensor.GetPointer(copy));
        else
            matrix.CopyRows(NativeTensor.GetPointer(copy));
        return copy;
    }

    private Tensor Assemble(TensorInfo info, List<GgufPlace> places)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var result = empty([.. info.Shape], info.Type);
        foreach (var (part, value) in places.Select(place => (place.Part, Copy(Matrix(place)))))
        {
            var own = part.Values is { } values ? values.FromFile(value.to(ScalarType.Float32)) : value;
            if (part.Columns?.Invoke(_config) is { } columns)
                own = own.index_select(1, tensor(Array.ConvertAll(columns, c => (long)c)));
            var target = part.View?.Invoke(result) ?? result;
            target.copy_(own.reshape(target.shape));
        }
        return result.MoveToOuterDisposeScope();
    }

    private static ScalarType OpenedType(GgufType type) =>
        type switch
        {
            GgufType.F16 => ScalarType.Float16,
            GgufType.Bf16 => ScalarType.BFloat16,
            _ => ScalarType.Float32,
        };
}
