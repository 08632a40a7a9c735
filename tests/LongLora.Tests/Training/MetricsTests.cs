using System.Buffers.Binary;
using Google.Protobuf;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Tests.Training;

public class MetricsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    private static TrainingStep Step(int number) =>
        new()
        {
            Step = number,
            Steps = 9,
            Loss = 1.0 / number,
            LearningRate = 1e-3,
            GradientNorm = 2,
            Tokens = number * 10,
            TokensPerSecond = 5,
            Elapsed = TimeSpan.FromSeconds(number),
            MemoryBytes = 3,
            PeakMemoryBytes = 4,
        };

    [Fact]
    public void MetricsLog_resumed_cuts_off_lost_steps_and_a_torn_line()
    {
        var log = new MetricsLog(_folder, 0, null);
        for (var i = 1; i <= 5; i++)
            log.Report(Step(i));
        File.AppendAllText(Path.Combine(_folder, "metrics.jsonl"), "{\"step\":6,\"lo");
        new MetricsLog(_folder, 3, null).Report(Step(4));
        Assert.Equal([1, 2, 3, 4], MetricsLog.Read(_folder).Select(s => s.Step));
        Assert.Equal(Step(4), MetricsLog.Read(_folder)[^1]);
    }

    [Fact]
    public void MetricsLog_resumed_skips_damaged_lines_and_tells()
    {
        var path = Path.Combine(_folder, "metrics.jsonl");
        var log = new MetricsLog(_folder, 0, null);
        for (var i = 1; i <= 5; i++)
            log.Report(Step(i));
        var lines = File.ReadAllLines(path);
        foreach (
            var damaged in new[]
            {
                "",
                "null",
                "[]",
                "{}",
                "\0\0\0",
                "\uFFFD",
                lines[1].Replace("\"elapsed_seconds\":2", "\"elapsed_seconds\":1e300", StringComparison.Ordinal),
                lines[1][..30],
            }
        )
        {
            File.WriteAllLines(path, [lines[0], damaged, .. lines[2..]]);
            Assert.Throws<CheckpointException>(() => MetricsLog.Read(_folder));
            var told = new List<string>();
            _ = new MetricsLog(_folder, 4, null, told.Add);
            Assert.Equal([1, 3, 4], MetricsLog.Read(_folder).Select(s => s.Step));
            Assert.Contains("line 2", Assert.Single(told), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void TensorBoardWriter_file_has_sound_frames_and_the_values()
    {
        for (var i = 1; i <= 3; i++)
            TensorBoardWriter.Append(_folder, i, [("train/loss", 0.5 * i), ("train/rate", 7)]);
        var events = ReadEvents(File.ReadAllBytes(Path.Combine(_folder, "events.out.tfevents.longlora")));
        Assert.Equal("brain.Event:2", events[0].Version);
        Assert.Equal(
            [
                (1L, "train/loss", 0.5f),
                (1, "train/rate", 7),
                (2, "train/loss", 1),
                (2, "train/rate", 7),
                (3, "train/loss", 1.5f),
                (3, "train/rate", 7),
            ],
            events.Skip(1).SelectMany(e => e.Scalars.Select(s => (e.Step, s.Tag, s.Value)))
        );
    }

    [Fact]
    public void TensorBoardWriter_resumed_drops_a_torn_frame_and_marks_the_start()
    {
        var path = Path.Combine(_folder, "events.out.tfevents.longlora");
        for (var i = 1; i <= 5; i++)
            TensorBoardWriter.Append(_folder, i, [("train/loss", i)]);
        var whole = File.ReadAllBytes(path);
        for (var cut = 1; cut < 40; cut += 6)
        {
            File.WriteAllBytes(path, whole[..^cut]);
            TensorBoardWriter.Resume(_folder, 3);
            TensorBoardWriter.Append(_folder, 4, [("train/loss", 4.5)]);
            Assert.Equal(
                [(0L, false), (1, false), (2, false), (3, false), (4, false), (4, true), (4, false)],
                ReadEvents(File.ReadAllBytes(path)).Select(e => (e.Step, e.Start))
            );
        }
        TensorBoardWriter.Resume(_folder, 0);
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void MetricsLog_line_has_the_documented_names()
    {
        new MetricsLog(_folder, 0, null).Report(Step(2));
        Assert.Equal(
            """{"step":2,"steps":9,"loss":0.5,"learning_rate":0.001,"gradient_norm":2,"tokens":20,"tokens_per_second":5,"elapsed_seconds":2,"memory_bytes":3,"peak_memory_bytes":4}"""
                + "\n",
            File.ReadAllText(Path.Combine(_folder, "metrics.jsonl"))
        );
    }

    // TFRecord and event.proto, from their descriptions.
    private static List<(long Step, string Version, bool Start, List<(string Tag, float Value)> Scalars)> ReadEvents(
        ReadOnlySpan<byte> file
    )
    {
        var events = new List<(long, string, bool, List<(string, float)>)>();
        while (file.Length > 0)
        {
            var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
            Assert.Equal(Masked(file[..8]), BinaryPrimitives.ReadUInt32LittleEndian(file[8..]));
            var data = file.Slice(12, length);
            Assert.Equal(Masked(data), BinaryPrimitives.ReadUInt32LittleEndian(file[(12 + length)..]));
            events.Add(ReadEvent(data.ToArray()));
            file = file[(16 + length)..];
        }
        return events;
    }

    private static (long, string, bool, List<(string, float)>) ReadEvent(byte[] data)
    {
        var (step, version, start, scalars) = (0L, "", false, new List<(string, float)>());
        var input = new CodedInputStream(data);
        for (uint tag; (tag = input.ReadTag()) != 0; )
        {
            switch (WireFormat.GetTagFieldNumber(tag))
            {
                case 1:
                    Assert.True(input.ReadDouble() > 1.7e9);
                    break;
                case 2:
                    step = input.ReadInt64();
                    break;
                case 3:
                    version = input.ReadString();
                    break;
                case 5:
                    var summary = new CodedInputStream(input.ReadBytes().ToByteArray());
                    while (summary.ReadTag() != 0)
                    {
                        var value = new CodedInputStream(summary.ReadBytes().ToByteArray());
                        value.ReadTag();
                        var name = value.ReadString();
                        value.ReadTag();
                        scalars.Add((name, value.ReadFloat()));
                    }
                    break;
                case 7:
                    start = input.ReadBytes().ToByteArray() is [8, 1];
                    break;
            }
        }
        return (step, version, start, scalars);
    }

    // CRC-32C bit by bit.
    private static uint Masked(ReadOnlySpan<byte> data)
    {
        var crc = uint.MaxValue;
        foreach (var b in data)
        {
            crc ^= b;
            for (var bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ (0x82F63B78 & (0 - (crc & 1)));
        }
        crc = ~crc;
        return unchecked(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
    }

    public void Dispose()
    {
        Directory.Delete(_folder, recursive: true);
        GC.SuppressFinalize(this);
    }
}
