using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>A block of raw memory that tensors are views of.</summary>
/// <param name="Type">Name of its class, such as <c>FloatStorage</c>.</param>
/// <param name="Key">Name of its data.</param>
/// <param name="Count">Number of elements.</param>
internal sealed record PickledStorage(string Type, string Key, long Count);

/// <summary>A tensor: a view of a storage, measured in elements.</summary>
internal sealed record PickledTensor(PickledStorage Storage, long Offset, IReadOnlyList<long> Shape, IReadOnlyList<long> Strides);

/// <summary>A dictionary, in file order.</summary>
internal sealed class PickledDictionary
{
    public OrderedDictionary<object, object?> Items { get; } = [];
}

/// <summary>
/// Reads the tensors of a Python pickle, and nothing else. A pickle is a program for a stack machine that may call whatever it names. This
/// machine knows the few names with which PyTorch rebuilds tensors, and computes their meaning itself. Every other name is refused before
/// it has any effect. Nothing is ever loaded, looked up or executed.
/// </summary>
/// <remarks>
/// Opcodes are documented in CPython's <c>pickletools</c>; the layout of the calls is defined by <c>torch/_utils.py</c> and
/// <c>torch/serialization.py</c>.
/// </remarks>
internal sealed class TensorPickle
{
    private const int MaxDimensions = 64,
        MaxDepth = 1 << 20;
    private const long MaxValues = 20_000_000;

    private static readonly HashSet<string> s_calls = new(StringComparer.Ordinal)
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.Size",
    };

    private static readonly object s_mark = new();

    private readonly PickleInput _input;
    private readonly string _path;
    private readonly List<object?> _stack = [];
    private readonly Dictionary<long, object?> _memo = [];
    private long _values;

    private TensorPickle(PickleInput input, string path) => (_input, _path) = (input, path);

    private sealed record Name(string Text);

    private sealed record Sequence(List<object?> Items, bool IsTuple);

    /// <summary>Runs one pickle. Afterwards the input is right behind it.</summary>
    /// <returns>
    /// null, a bool, long, double, string, list of these, <see cref="PickledDictionary"/> or <see cref="PickledTensor"/>.
    /// </returns>
    /// <exception cref="CheckpointException">The pickle is damaged, or it names something that is not part of a tensor.</exception>
    public static object? Read(PickleInput input, string path)
    {
        var value = new TensorPickle(input, path).Run();
        return value is Sequence { Items: var items } ? items : value;
    }

    /// <summary>The items of a list or tuple in the result of <see cref="Read"/>; null for anything else.</summary>
    public static IReadOnlyList<object?>? GetItems(object? value) => value is Sequence sequence ? sequence.Items : value as List<object?>;

    private object? Run()
    {
        while (true)
        {
            var opcode = _input.ReadByte();
            if (opcode == '.')
                return Pop();
            if (!TryConstant(opcode) && !TryCollection(opcode) && !TryMemory(opcode))
                Call(opcode);
            if (_stack.Count > MaxDepth)
                throw _input.MakeError("a deeper stack than any checkpoint");
        }
    }

    private bool TryConstant(int opcode)
    {
        switch (opcode)
        {
            case 0x80:
                _input.ReadByte();
                return true; // PROTO
            case 0x95:
                _input.ReadInt64();
                return true; // FRAME
            case 'N':
                return Push(null);
            case 0x88:
                return Push(true);
            case 0x89:
                return Push(false);
            case 'J':
                return Push((long)_input.ReadInt32());
            case 'K':
                return Push((long)_input.ReadByte());
            case 'M':
                return Push((long)_input.ReadUint16());
            case 0x8A:
                return Push(ReadLongInteger(_input.ReadByte()));
            case 0x8B:
                return Push(ReadLongInteger(_input.ReadInt32()));
            case 'G':
                return Push(_input.ReadDouble());
            case 'X':
                return Push(_input.ReadText((uint)_input.ReadInt32()));
            case 0x8C or 'U':
                return Push(_input.ReadText(_input.ReadByte()));
            case 'T':
                return Push(_input.ReadText(_input.ReadInt32()));
            case 0x8D:
                return Push(_input.ReadText(_input.ReadInt64()));
            default:
                return false;
        }
    }

    // Too large for 64 bits; in practice this is the magic number of old files.
    private object ReadLongInteger(long bytes) => _input.ReadInteger(bytes) is { } value ? value : "large integer";

    private bool TryCollection(int opcode)
    {
        switch (opcode)
        {
            case '(':
                return Push(s_mark);
            case ')':
                return Push(new Sequence([], true));
            case ']':
                return Push(new Sequence([], false));
            case '}':
                return Push(new PickledDictionary());
            case 't':
                return Push(new Sequence(PopToMark(), true));
            case 'l':
                return Push(new Sequence(PopToMark(), false));
            case 0x85 or 0x86 or 0x87:
                return Push(new Sequence(PopMany(opcode - 0x84), true));
            case 'd':
                return Push(Fill(new PickledDictionary(), PopToMark()));
            case 'a':
                ExtendList(PopMany(1));
                return true;
            case 'e':
                ExtendList(PopToMark());
                return true;
            case 's':
                Fill(Peek<PickledDictionary>(out var one, 2), one);
                return true;
            case 'u':
                var items = PopToMark();
                Fill(Peek<PickledDictionary>(out _, 0), items);
                return true;
            case '0':
                Pop();
                return true;
            case '1':
                PopToMark();
                return true;
            case '2':
                return Push(PeekTop());
            default:
                return false;
        }
    }

    private bool TryMemory(int opcode)
    {
        switch (opcode)
        {
            case 'q':
                _memo[_input.ReadByte()] = PeekTop();
                return true;
            case 'r':
                _memo[(uint)_input.ReadInt32()] = PeekTop();
                return true;
            case 0x94:
                _memo[_memo.Count] = PeekTop();
                return true;
            case 'h':
                return Push(Recall(_input.ReadByte()));
            case 'j':
                return Push(Recall((uint)_input.ReadInt32()));
            default:
                return false;
        }
    }

    private void Call(int opcode)
    {
        switch (opcode)
        {
            case 'c':
                var module = _input.ReadLine();
                Push(RequireKnown(module, _input.ReadLine()));
                break;
            case 0x93:
                var names = PopMany(2);
                Push(RequireKnown(names[0] as string ?? "", names[1] as string ?? ""));
                break;
            case 'Q':
                Push(MakeStorage(Pop()));
                break;
            case 'R':
                var pair = PopMany(2);
                Push(Apply(pair[0], pair[1]));
                break;
            case 'b': // BUILD: attributes of the dictionary, such as a state dict's _metadata, which do not affect the numbers.
                Pop();
                if (PeekTop() is not PickledDictionary)
                    throw _input.MakeError("attributes of something that is not a dictionary");
                break;
            case 'i': // INST: the names are in the opcode itself.
                var inside = _input.ReadLine();
                RequireKnown(inside, _input.ReadLine());
                throw MakeRefusal("an object of a class, which only Python can make");
            case 'o' or 0x81 or 0x92:
                throw MakeRefusal("an object of a class, which only Python can make");
            case 'C' or 'B' or 0x8E or 0x96:
                throw MakeRefusal("raw bytes, which are not a tensor");
            case 'P':
                throw MakeRefusal($"'{_input.ReadLine()}', a persistent name of another program");
            default:
                throw _input.MakeError($"an unknown or unused opcode 0x{opcode:X2}");
        }
    }

    /// <summary>The name of something known. Names outside the list are refused.</summary>
    private Name RequireKnown(string module, string name)
    {
        var full = module + "." + name;
        return s_calls.Contains(full) || (module == "torch" && (TorchTypes.IsStorage(name) || TorchTypes.IsElementType(name)))
            ? new Name(full)
            : throw MakeRefusal($"'{full}'");
    }

    private object? Apply(object? callee, object? arguments)
    {
        if (callee is not Name { Text: var name } || arguments is not Sequence { IsTuple: true, Items: var items })
            throw _input.MakeError("a call of something that is not a name");
        switch (name)
        {
            case "collections.OrderedDict" when items.Count == 0:
                return new PickledDictionary();
            case "collections.OrderedDict" when items is [Sequence { Items: var pairs }]:
                var dictionary = new PickledDictionary();
                foreach (var pair in pairs)
                    Fill(
                        dictionary,
                        pair is Sequence { Items: { Count: 2 } two }
                            ? two
                            : throw _input.MakeError("an OrderedDict of something other than pairs")
                    );
                return dictionary;
            case "torch._utils._rebuild_tensor" when items.Count == 4:
            case "torch._utils._rebuild_tensor_v2" when items.Count is 6 or 7:
                return MakeTensor(items);
            case "torch._utils._rebuild_parameter" when items.Count == 3 && items[0] is PickledTensor tensor:
                return tensor;
            case "torch._utils._rebuild_parameter_with_state" when items.Count == 4 && items[0] is PickledTensor tensor:
                return tensor;
            case "torch.Size" when items is [Sequence sizes]:
                return sizes;
            default:
                throw _input.MakeError($"a call of {name} with wrong arguments");
        }
    }

    private PickledTensor MakeTensor(List<object?> items)
    {
        if (items[0] is not PickledStorage storage || items[1] is not long offset)
            throw _input.MakeError("a tensor without a storage");
        var (shape, strides) = (ReadSizes(items[2]), ReadSizes(items[3]));
        if (offset < 0 || shape.Count != strides.Count)
            throw _input.MakeError("a tensor whose sizes and strides do not match");
        // The last element must lie inside the storage, and the size must fit into a file.
        var (last, count) = ((UInt128)offset, (UInt128)1);
        for (var i = 0; i < shape.Count; i++)
        {
            last += (UInt128)Math.Max(shape[i] - 1, 0) * (UInt128)strides[i];
            count *= (UInt128)shape[i];
            if (count > long.MaxValue / 16 || last > long.MaxValue)
                throw _input.MakeError($"a tensor [{string.Join(", ", shape)}], larger than any file");
        }
        // With strides of 0, a small storage can stand for a tensor of any size.
        if (count > (UInt128)storage.Count && last < (UInt128)storage.Count)
            throw _input.MakeError(
                $"a tensor [{string.Join(", ", shape)}] with more elements than the {storage.Count} of its storage (if it was "
                    + "expanded, call contiguous() on it before saving)"
            );
        if (count > 0 && last >= (UInt128)storage.Count)
            throw _input.MakeError(
                $"a tensor [{string.Join(", ", shape)}] at element {offset} that reaches beyond its storage of {storage.Count} elements"
            );
        return new PickledTensor(storage, offset, shape, strides);
    }

    private List<long> ReadSizes(object? value)
    {
        if (value is not Sequence { Items: { Count: <= MaxDimensions } items } || items.Exists(i => i is not >= 0L))
            throw _input.MakeError("sizes that are not a list of integers");
        return items.ConvertAll(i => (long)i!);
    }

    private PickledStorage MakeStorage(object? id)
    {
        if (
            id is not Sequence { Items: var items }
            || items is not ["storage", Name { Text: var type }, string key, string, long count, ..]
            || count < 0
        )
            throw _input.MakeError("a storage that is not described as in PyTorch");
        if (items.Count > 5 && items[5] is not null)
            throw MakeRefusal(
                "a storage that is a view of another, as PyTorch before 0.4 wrote it (save the model again with a newer PyTorch),"
            );
        var name = type["torch.".Length..];
        return type.StartsWith("torch.", StringComparison.Ordinal) && TorchTypes.IsStorage(name)
            ? new PickledStorage(name, key, count)
            : throw MakeRefusal($"'{type}' as a storage");
    }

    private PickledDictionary Fill(PickledDictionary target, List<object?> items)
    {
        if (items.Count % 2 != 0)
            throw _input.MakeError("a key without a value");
        for (var i = 0; i < items.Count; i += 2)
            target.Items[items[i] is string or long or double or bool ? items[i]! : throw _input.MakeError("a key that is not a string")] =
                items[i + 1];
        return target;
    }

    private void ExtendList(List<object?> items) => Peek<Sequence>(out _, 0).Items.AddRange(items);

    private T Peek<T>(out List<object?> above, int count)
        where T : class
    {
        above = PopMany(count);
        return PeekTop() as T ?? throw _input.MakeError($"items for something that is not a {typeof(T).Name}");
    }

    private bool Push(object? value)
    {
        if (++_values > MaxValues)
            throw _input.MakeError("more values than any checkpoint");
        _stack.Add(value);
        return true;
    }

    private object? PeekTop() => _stack.Count > 0 && _stack[^1] != s_mark ? _stack[^1] : throw _input.MakeError("an empty stack");

    private object? Pop() => PopMany(1)[0];

    private List<object?> PopMany(int count)
    {
        if (_stack.Count < count || _stack.IndexOf(s_mark, _stack.Count - count) >= 0)
            throw _input.MakeError("too few values on its stack");
        var items = _stack.GetRange(_stack.Count - count, count);
        _stack.RemoveRange(_stack.Count - count, count);
        return items;
    }

    private List<object?> PopToMark()
    {
        var mark = _stack.LastIndexOf(s_mark);
        if (mark < 0)
            throw _input.MakeError("no mark on its stack");
        var items = _stack.GetRange(mark + 1, _stack.Count - mark - 1);
        _stack.RemoveRange(mark, _stack.Count - mark);
        return items;
    }

    private object? Recall(long key) =>
        _memo.TryGetValue(key, out var value) ? value : throw _input.MakeError($"a reference to value {key}, which does not exist");

    private CheckpointException MakeRefusal(string what) =>
        new(
            $"{_path}: the pickle asks for {what} at byte {_input.Position}. Only tensors in dictionaries are read from PyTorch "
                + "files, and nothing in them is ever executed. If you trust the file, load it in Python and save only its state_dict. "
                + "If you do not trust it, do not use it."
        );
}
