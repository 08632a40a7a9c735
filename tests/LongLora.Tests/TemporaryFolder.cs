using System.Buffers.Binary;
using System.Text;

namespace LongLora.Tests;

/// <summary>A new folder that goes with the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Root { get; } = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    public string this[params string[] parts] => Path.Combine([Root, .. parts]);

    /// <summary>Writes a text and gives its path.</summary>
    public string Text(string name, string text)
    {
        File.WriteAllText(this[name], text);
        return this[name];
    }

    /// <summary>Writes a safetensors file as it is told to, right or wrong, and gives its path.</summary>
    /// <param name="name">File name.</param>
    /// <param name="header">Text of the header.</param>
    /// <param name="dataBytes">How many zero bytes follow.</param>
    /// <param name="claimed">What the file says of its header's length; null for the truth.</param>
    public string Safetensors(string name, string header, int dataBytes, ulong? claimed = null)
    {
        var text = Encoding.Latin1.GetBytes(header);
        var bytes = new byte[8 + text.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, claimed ?? (ulong)text.Length);
        text.CopyTo(bytes, 8);
        File.WriteAllBytes(this[name], bytes);
        return this[name];
    }

    public void Dispose() => Directory.Delete(Root, recursive: true);
}
