using System.Text;
using LongLora.Checkpoints;

namespace LongLora.Tests.Checkpoints;

/// <summary>Writes GGUF files byte by byte, good ones and others: the tests' own writer.</summary>
internal sealed class GgufBytes
{
    private readonly List<(string Key, int Type, byte[] Value)> _keys = [];
    private readonly List<(string Name, long[] Dimensions, int Type, byte[] Data)> _tensors = [];

    public uint Version { get; set; } = 3;

    public uint Magic { get; set; } = GgufFormat.Magic;

    public int Alignment { get; set; } = 32;

    public bool PadsLast { get; set; } = true;

    /// <summary>Changes the offset that the header gives a tensor.</summary>
    public Func<int, long, long> Offset { get; set; } = (_, offset) => offset;

    public GgufBytes Key(string key, int type, byte[] value)
    {
        _keys.Add((key, type, value));
        return this;
    }

    public GgufBytes Key(string key, string value) => Key(key, GgufFormat.Text, Text(value));

    public GgufBytes Key(string key, uint value) => Key(key, GgufFormat.UInt32, BitConverter.GetBytes(value));

    public GgufBytes Key(string key, float value) => Key(key, GgufFormat.Float32, BitConverter.GetBytes(value));

    public GgufBytes Key(string key, bool value) => Key(key, GgufFormat.Bool, [value ? (byte)1 : (byte)0]);

    public GgufBytes Key(string key, params string[] values) =>
        Key(key, GgufFormat.List, [.. List(GgufFormat.Text, values.Length), .. values.SelectMany(Text)]);

    public GgufBytes Key(string key, params int[] values) =>
        Key(key, GgufFormat.List, [.. List(GgufFormat.Int32, values.Length), .. values.SelectMany(BitConverter.GetBytes)]);

    public GgufBytes Key(string key, params float[] values) =>
        Key(key, GgufFormat.List, [.. List(GgufFormat.Float32, values.Length), .. values.SelectMany(BitConverter.GetBytes)]);

    /// <summary>A tensor; dimensions as the file has them, fastest first.</summary>
    public GgufBytes Tensor(string name, int type, byte[] data, params long[] dimensions)
    {
        _tensors.Add((name, dimensions, type, data));
        return this;
    }

    public GgufBytes Floats(string name, int count) => Tensor(name, 0, new byte[4 * count], count);

    public static byte[] Text(string text) =>
        [.. BitConverter.GetBytes((long)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text)];

    public static byte[] List(int type, long count) => [.. BitConverter.GetBytes(type), .. BitConverter.GetBytes(count)];

    public byte[] Build()
    {
        var stream = new MemoryStream();
        var w = new BinaryWriter(stream);
        w.Write(Magic);
        w.Write(Version);
        w.Write((long)_tensors.Count);
        w.Write((long)_keys.Count);
        foreach (var (key, type, value) in _keys)
        {
            w.Write(Text(key));
            w.Write(type);
            w.Write(value);
        }
        var offset = 0L;
        foreach (var (i, (name, dimensions, type, data)) in _tensors.Index())
        {
            w.Write(Text(name));
            w.Write(dimensions.Length);
            foreach (var size in dimensions)
                w.Write(size);
            w.Write(type);
            w.Write(Offset(i, offset));
            offset += Padded(data.Length);
        }
        Pad(w);
        foreach (var (i, tensor) in _tensors.Index())
        {
            w.Write(tensor.Data);
            if (PadsLast || i < _tensors.Count - 1)
                Pad(w);
        }
        return stream.ToArray();
    }

    private long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    private void Pad(BinaryWriter w) => w.Write(new byte[Padded(w.BaseStream.Position) - w.BaseStream.Position]);
}
