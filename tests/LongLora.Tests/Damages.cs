namespace LongLora.Tests;

/// <summary>Damages files as disks and broken copies do: zeros, a flipped bit, a missing end. The same seed damages alike.</summary>
internal sealed class Damages(int seed)
{
    private readonly Random _random = new(seed);

    /// <summary>What was done last, for messages.</summary>
    public string Last { get; private set; } = "";

    /// <summary>Damages a file; the result repairs it. The content is never the same as before.</summary>
    public IDisposable Apply(string path)
    {
        var before = File.ReadAllBytes(path);
        byte[] after;
        do after = Change([.. before]);
        while (after.AsSpan().SequenceEqual(before));
        File.WriteAllBytes(path, after);
        Last = $"{Path.GetFileName(path)}: {Last}";
        return new Repair(path, before);
    }

    private byte[] Change(byte[] bytes)
    {
        var at = _random.Next(bytes.Length);
        switch (_random.Next(3))
        {
            case 0:
                var count = Math.Min(bytes.Length - at, 1 << _random.Next(13));
                Last = $"{count} zeros at {at}";
                bytes.AsSpan(at, count).Clear();
                return bytes;
            case 1:
                var bit = _random.Next(8);
                Last = $"bit {bit} of byte {at}";
                bytes[at] ^= (byte)(1 << bit);
                return bytes;
            default:
                Last = $"cut at {at}";
                return bytes[..at];
        }
    }

    private sealed class Repair(string path, byte[] before) : IDisposable
    {
        public void Dispose() => File.WriteAllBytes(path, before);
    }
}
