using System.Buffers.Binary;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>
/// Checks the description at the end of a Parquet file before the library reads it: at the end of a damaged one the library looks for the
/// next field without end. The description is a structure of Thrift's compact protocol, whose fields have types.
/// </summary>
internal ref struct ParquetFooter
{
    private const int Deepest = 32,
        LargestFooter = 1 << 30;

    private const byte False = 2,
        I8 = 3,
        Double = 7,
        Binary = 8,
        List = 9,
        Set = 10,
        Map = 11,
        Struct = 12;

    // The types of the fields that the library knows, from the first on: a letter for each, then the structures in them by number.
    // b true or false, i a whole number, s bytes, m a structure, l, n, t a list of structures, whole numbers, bytes, . anything.
    private static readonly Dictionary<string, (string Types, Dictionary<int, string> Inner)> s_known = new()
    {
        ["file"] = (
            "ilillslms",
            new()
            {
                [2] = "element",
                [4] = "group",
                [5] = "pair",
                [7] = "order",
            }
        ),
        ["element"] = ("iiisiiiiim", new() { [10] = "logical" }),
        ["logical"] = (
            "mmmmmmmmmmmmmm",
            new()
            {
                [5] = "decimal",
                [7] = "time",
                [8] = "time",
                [10] = "integer",
            }
        ),
        ["decimal"] = ("ii", []),
        ["time"] = ("bm", new() { [2] = "unit" }),
        ["unit"] = ("mmm", []),
        ["integer"] = ("ib", []),
        ["group"] = ("liiliii", new() { [1] = "chunk", [4] = "sorting" }),
        ["chunk"] = ("simiiiims", new() { [3] = "column" }),
        ["column"] = (
            "intiiiiliiimlii",
            new()
            {
                [8] = "pair",
                [12] = "statistics",
                [13] = "encoding",
            }
        ),
        ["statistics"] = ("ssiissbb", []),
        ["encoding"] = ("iii", []),
        ["sorting"] = ("ibb", []),
        ["pair"] = ("ss", []),
        ["order"] = ("m", []),
    };

    private readonly ReadOnlySpan<byte> _bytes;
    private readonly string _file;
    private int _at;

    private ParquetFooter(ReadOnlySpan<byte> bytes, string file)
    {
        _bytes = bytes;
        _file = file;
    }

    /// <summary>Checks it. The stream is at its start again afterwards.</summary>
    /// <exception cref="DataException">The description is damaged.</exception>
    public static void Check(Stream stream, string file)
    {
        var end = new byte[8];
        if (stream.Length < 12)
            throw MakeError(file, $"it has only {stream.Length} bytes");
        stream.Position = stream.Length - 8;
        stream.ReadExactly(end);
        var length = BinaryPrimitives.ReadInt32LittleEndian(end);
        if (!end.AsSpan(4).SequenceEqual("PAR1"u8))
        {
            stream.Position = 0;
            return; // encrypted, or no Parquet at all: the library says so
        }
        if (length <= 0 || length > stream.Length - 12 || length > LargestFooter)
            throw MakeError(file, $"the description at its end has {length:N0} bytes, and the file {stream.Length:N0}");
        var bytes = new byte[length];
        stream.Position = stream.Length - 8 - length;
        stream.ReadExactly(bytes);
        new ParquetFooter(bytes, file).SkipStruct("file", 0);
        stream.Position = 0;
    }

    private static DataException MakeError(string file, string why) =>
        new($"Cannot read {file} as a Parquet file because it is damaged: {why}. Download it again.");

    private readonly DataException MakeError(string why) => MakeError(_file, $"{why} at byte {_at:N0} of the description at its end");

    private void SkipStruct(string? kind, int depth)
    {
        if (depth > Deepest)
            throw MakeError("fields are nested too deeply");
        var known = kind is null ? ("", []) : s_known[kind];
        for (var number = 0; ; )
        {
            var head = Take();
            if (head == 0)
                return;
            number = head >> 4 is > 0 and var step ? number + step : (short)TakeNumber();
            var type = head & 15;
            var expected = number >= 1 && number <= known.Item1.Length ? known.Item1[number - 1] : '.';
            if (!IsOf(type, expected))
                throw MakeError($"field {number} has the type {type}");
            Skip(type, expected, known.Item2.GetValueOrDefault(number), inList: false, depth);
        }
    }

    private static bool IsOf(int type, char expected) =>
        expected switch
        {
            'b' => type is 1 or False,
            'i' => type is >= I8 and < Double,
            's' => type == Binary,
            'l' or 'n' or 't' => type == List,
            'm' => type == Struct,
            _ => type is >= 1 and <= Struct,
        };

    private void Skip(int type, char expected, string? kind, bool inList, int depth)
    {
        switch (type)
        {
            case 1 or False:
                _at += inList ? 1 : 0;
                break;
            case I8:
                _at++;
                break;
            case > I8 and < Double:
                TakeNumber();
                break;
            case Double:
                _at += 8;
                break;
            case Binary:
                var count = TakeCount();
                _at += count;
                break;
            case List or Set:
                SkipList(expected, kind, depth);
                break;
            case Map:
                if (TakeCount() > 0)
                    throw MakeError("there is a map, which no Parquet file has");
                break;
            case Struct:
                SkipStruct(kind, depth + 1);
                break;
            default:
                throw MakeError($"there is no type {type}");
        }
        if (_at > _bytes.Length)
            throw MakeError("a field ends behind the end");
    }

    private void SkipList(char expected, string? kind, int depth)
    {
        var head = Take();
        var (count, type) = (head >> 4 is < 15 and var few ? few : TakeCount(), head & 15);
        var item = expected switch
        {
            'l' => 'm',
            'n' => 'i',
            't' => 's',
            _ => '.',
        };
        if (count > 0 && !IsOf(type, item))
            throw MakeError($"a list has items of the type {type}");
        for (var i = 0; i < count; i++)
            Skip(type, '.', kind, inList: true, depth + 1);
    }

    private int TakeCount() =>
        TakeNumber() is >= 0 and var count && count <= _bytes.Length - _at ? (int)count : throw MakeError("a list or a text is too long");

    private long TakeNumber()
    {
        var number = 0L;
        for (var shift = 0; shift < 64; shift += 7)
        {
            var next = Take();
            number |= (long)(next & 127) << shift;
            if (next < 128)
                return number;
        }
        throw MakeError("a number does not end");
    }

    private byte Take() => _at < _bytes.Length ? _bytes[_at++] : throw MakeError("it ends inside a field");
}
