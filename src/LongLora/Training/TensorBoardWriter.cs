using System.Buffers.Binary;
using System.Numerics;
using Google.Protobuf;
using LongLora.Runtime;

namespace LongLora.Training;

/// <summary>
/// Appends scalars to a TensorBoard event file: TFRecord frames (u64 length, masked CRC-32C of it, data, masked CRC-32C of that) that hold
/// <c>Event</c> messages of TensorFlow's event.proto. TorchSharp's own writer keeps its file open and never flushes it.
/// </summary>
internal static class TensorBoardWriter
{
    // TensorBoard takes a file for an event file by "tfevents" in its name.
    private const string FileName = "events.out.tfevents.longlora";

    /// <summary>
    /// Prepares the file for the steps after <paramref name="lastStep"/>: an incomplete frame is removed, because nothing after it could be
    /// read, and a session start tells TensorBoard to forget the later steps of an interrupted run.
    /// </summary>
    /// <param name="folder">The run directory.</param>
    /// <param name="lastStep">Steps that the run has; 0 begins a new file.</param>
    public static void Resume(string folder, long lastStep)
    {
        var path = Path.Combine(folder, FileName);
        AtomicFile.Guard(path, () =>
        {
            if (lastStep == 0)
                File.Delete(path);
            if (!File.Exists(path))
                return;
            using var stream = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read);
            stream.SetLength(EndOfFrames(stream));
            stream.Position = stream.Length;
            // session_log = 7 { status = 1: START = 1 }
            stream.Write(Frame(Event(lastStep + 1, o => WriteMessage(o, 7, log =>
                        {
                            log.WriteTag(1, WireFormat.WireType.Varint);
                            log.WriteInt32(1);
                        }))));
        });
    }

    /// <summary>Appends the scalars of one step to <c>events.out.tfevents.longlora</c>, which is created on first use.</summary>
    /// <param name="folder">The run directory.</param>
    /// <param name="step">The step.</param>
    /// <param name="scalars">Tags and values.</param>
    public static void Append(string folder, long step, IReadOnlyList<(string Tag, double Value)> scalars)
    {
        var path = Path.Combine(folder, FileName);
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
            crc = BitOperations.Crc32C(crc, b);
        crc = ~crc;
        return ((crc >> 15) | (crc << 17)) + 0xA282EAD8;
    }

    // Where the last whole frame ends.
    private static long EndOfFrames(FileStream stream)
    {
        var header = new byte[12];
        for (var end = 0L; ; )
        {
            stream.Position = end;
            if (
                stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) < header.Length
                || BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(8)) != MaskedChecksum(header.AsSpan(0, 8))
            )
                return end;
            var next = end + 16 + (long)BinaryPrimitives.ReadUInt64LittleEndian(header);
            if (next > stream.Length)
                return end;
            end = next;
        }
    }

    private static byte[] Event(long step, Action<CodedOutputStream> what) =>
        Message(o =>
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
