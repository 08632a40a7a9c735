using System.Buffers.Binary;
using Google.Protobuf;
using LongLora.Runtime;

namespace LongLora.Training;

/// <summary>
/// Appends scalars to a TensorBoard event file: TFRecord frames (u64 length, masked CRC-32C of it, data, masked CRC-32C of that) that hold
/// <c>Event</c> messages of TensorFlow's event.proto. TorchSharp's own writer keeps its file open and never flushes it.
/// </summary>
public static class TensorBoardWriter
{
    private static readonly uint[] s_table = [.. Enumerable.Range(0, 256).Select(i => Enumerable.Range(0, 8).Aggregate((uint)i, (c, _) => (c & 1) != 0 ? (c >> 1) ^ 0x82F63B78 : c >> 1))];

    /// <summary>Appends the scalars of one step to <c>events.out.tfevents.longlora</c>, which is made on first use.</summary>
    /// <param name="folder">The run directory.</param>
    /// <param name="step">The step.</param>
    /// <param name="scalars">Tags and values.</param>
    public static void Append(string folder, long step, IReadOnlyList<(string Tag, double Value)> scalars)
    {
        // TensorBoard takes a file for an event file by "tfevents" in its name.
        var path = Path.Combine(folder, "events.out.tfevents.longlora");
        AtomicFile.Guard(path, () =>
        {
            using var stream = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read);
            if (stream.Length == 0)
                stream.Write(Frame(Event(0, o => WriteString(o, 3, "brain.Event:2"))));
            stream.Write(Frame(Event(step, o => WriteMessage(o, 5, summary =>
            {
                foreach (var (tag, value) in scalars)
                {
                    WriteMessage(summary, 1, entry =>
                    {
                        WriteString(entry, 1, tag);
                        entry.WriteTag(2, WireFormat.WireType.Fixed32);
                        entry.WriteFloat((float)value);
                    });
                }
            }))));
        });
    }

    /// <summary>The checksum of a frame: CRC-32C (Castagnoli), rotated and offset as TFRecord has it.</summary>
    internal static uint MaskedChecksum(ReadOnlySpan<byte> data)
    {
        var crc = uint.MaxValue;
        foreach (var b in data)
            crc = s_table[(byte)(crc ^ b)] ^ (crc >> 8);
        crc = ~crc;
        return ((crc >> 15) | (crc << 17)) + 0xA282EAD8;
    }

    private static byte[] Event(long step, Action<CodedOutputStream> what) => Message(o =>
    {
        o.WriteTag(1, WireFormat.WireType.Fixed64);
        o.WriteDouble(DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0);
        o.WriteTag(2, WireFormat.WireType.Varint);
        o.WriteInt64(step);
        what(o);
    });

    private static byte[] Frame(byte[] data)
    {
        var frame = new byte[data.Length + 16];
        BinaryPrimitives.WriteUInt64LittleEndian(frame, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(8), MaskedChecksum(frame.AsSpan(0, 8)));
        data.CopyTo(frame, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(12 + data.Length), MaskedChecksum(data));
        return frame;
    }

    private static void WriteString(CodedOutputStream output, int field, string text)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteString(text);
    }

    private static void WriteMessage(CodedOutputStream output, int field, Action<CodedOutputStream> write)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteBytes(ByteString.CopyFrom(Message(write)));
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using var buffer = new MemoryStream();
        using (var output = new CodedOutputStream(buffer, leaveOpen: true))
            write(output);
        return buffer.ToArray();
    }
}
