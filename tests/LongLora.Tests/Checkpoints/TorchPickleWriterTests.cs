using System.Diagnostics;
using System.IO.Compression;
using System.IO.Hashing;
using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class TorchPickleWriterTests
{
    private static readonly ScalarType[] s_types =
    [
        ScalarType.Float32,
        ScalarType.Float64,
        ScalarType.Float16,
        ScalarType.BFloat16,
        ScalarType.Int64,
        ScalarType.Int32,
        ScalarType.Int16,
        ScalarType.Int8,
        ScalarType.Byte,
        ScalarType.Bool,
    ];

    [Theory]
    [InlineData(uint.MaxValue)]
    [InlineData(40)] // every field in its zip64 form
    public void Write_then_read_gives_the_same_tensors_at_aligned_places(long wide)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var tensors = Tensors();
        TorchPickleWriter.Write(folder["a.bin"], tensors, wide);
        using var reader = new TorchPickleReader(folder["a.bin"]);
        Assert.Equal(tensors.Select(t => t.Name), reader.Tensors.Keys);
        foreach (var tensor in tensors)
        {
            Assert.Equal(tensor.Type, reader.Tensors[tensor.Name].Type);
            Near.AssertEqual(tensor.Value(), reader.Open(tensor.Name), 0, tensor.Name);
            Assert.Equal(0, reader.Header.Locate(tensor.Name).Offset % 64);
        }
        // An independent reader checks names, sizes and checksums.
        using var archive = ZipFile.OpenRead(folder["a.bin"]);
        Assert.Equal(tensors.Count + 3, archive.Entries.Count);
        foreach (var entry in archive.Entries)
        {
            using var content = entry.Open();
            using var copy = new MemoryStream();
            content.CopyTo(copy);
            Assert.Equal(entry.Length, copy.Length);
            Assert.Equal(entry.Crc32, Crc32.HashToUInt32(copy.ToArray()));
        }
    }

    [Fact]
    public void Write_same_tensors_gives_the_same_bytes()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        TorchPickleWriter.Write(folder["a.bin"], Tensors());
        TorchPickleWriter.Write(folder["b.bin"], Tensors());
        Assert.Equal(File.ReadAllBytes(folder["a.bin"]), File.ReadAllBytes(folder["b.bin"]));
    }

    [Fact]
    public void Write_two_tensors_of_one_name_is_refused()
    {
        using var folder = new TemporaryFolder();
        using var one = ones(1);
        Assert.Contains(
            "'a'",
            Assert
                .Throws<ShapeException>(() =>
                    TorchPickleWriter.Write(folder["a.bin"], [TensorToWrite.Of("a", one), TensorToWrite.Of("a", one)])
                )
                .Message
        );
    }

    [Fact]
    public void Write_WriteModel_makes_shards_that_open_as_a_folder()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        using var whole = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
        File.Copy(Path.Combine(whole.Path, "config.json"), folder["config.json"]);
        TorchPickleWriter.WriteModel(
            folder.Root,
            [.. whole.Tensors.Values.Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, () => whole.Open(t.Name)))],
            400_000
        );
        using var shards = CheckpointDirectory.Open(folder.Root);
        Assert.Equal(
            ["pytorch_model-00001-of-00003.bin", "pytorch_model-00002-of-00003.bin", "pytorch_model-00003-of-00003.bin"],
            shards.WeightFiles.Select(Path.GetFileName)
        );
        Assert.Equal(whole.DataBytes, shards.DataBytes);
        foreach (var name in whole.Tensors.Keys)
            Near.AssertEqual(whole.Open(name), shards.Open(name), 0, name);
    }

    [Fact]
    public void Write_file_is_read_by_PyTorch_bit_for_bit()
    {
        const string script = """
            import sys
            try:
                import torch
            except ImportError:
                sys.exit(77)
            a = torch.load(sys.argv[1], weights_only=True)
            for name, t in a.items():
                t = t.contiguous()
                raw = bytes(t.reshape(-1).view(torch.uint8).numpy().tobytes()) if t.dtype != torch.bool else bytes(t.numpy().tobytes())
                print(name, str(t.dtype)[6:], 'x'.join(map(str, t.shape)), raw.hex())
            """;
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var tensors = Tensors().Where(t => t.Shape.Count > 0 && t.ByteCount > 0).ToList();
        TorchPickleWriter.Write(folder["a.bin"], tensors);
        ProcessStartInfo start = new("/usr/bin/python3", ["-c", script, folder["a.bin"]]) { RedirectStandardOutput = true };
        Process? process = null;
        try
        {
            process = Process.Start(start);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // told below
        }
        Assert.SkipWhen(process is null, "needs /usr/bin/python3 with PyTorch");
        using (process)
        {
            var lines = process!.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
            process.WaitForExit();
            Assert.SkipWhen(process.ExitCode == 77, "needs /usr/bin/python3 with PyTorch");
            Assert.Equal(0, process.ExitCode);
            Assert.Equal(tensors.Select(Line), lines);
        }
    }

    private static string Line(TensorToWrite tensor)
    {
        var bytes = new List<byte>();
        CheckpointShards.WriteData(tensor, piece => bytes.AddRange(piece));
        var type = tensor.Type switch
        {
            ScalarType.Byte => "uint8",
            var other => other.ToString().ToLowerInvariant(),
        };
        return $"{tensor.Name} {type} {string.Join('x', tensor.Shape)} {Convert.ToHexStringLower([.. bytes])}";
    }

    private static List<TensorToWrite> Tensors()
    {
        List<TensorToWrite> tensors = [];
        using var generator = new Generator(7);
        foreach (var type in s_types)
            tensors.Add(TensorToWrite.Of($"some.{type}", randn([3, 5], generator: generator).mul(20).abs().to(type)));
        tensors.Add(TensorToWrite.Of("scalar", tensor(2.5f)));
        tensors.Add(TensorToWrite.Of("nothing", zeros(0, 4)));
        tensors.Add(TensorToWrite.Of("transposed", arange(12).reshape(3, 4).t()));
        tensors.Add(TensorToWrite.Of("ünïcode", ones(300)));
        return tensors;
    }
}
