using System.IO.Compression;
using System.Text;
using LongLora.Checkpoints;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class TorchPickleTests
{
    [Theory]
    [InlineData("odd.bin")]
    [InlineData("odd_legacy.bin")]
    public void Open_types_views_and_shared_storages_written_by_PyTorch_are_equal(string file)
    {
        using var scope = NewDisposeScope();
        using var expected = GoldenTensors.Read(SharedMaterial.Golden("torch", "odd.safetensors"));
        using var reader = new TorchPickleReader(SharedMaterial.Golden("torch", file));
        Assert.Equal(expected.Names, reader.Tensors.Keys);
        foreach (var name in expected.Names)
        {
            using var value = reader.Open(name);
            Assert.Equal(reader.Tensors[name].Type, value.dtype);
            Assert.Equal(reader.Tensors[name].Shape, value.shape);
            Assert.True(value.is_contiguous());
            Near.AssertEqual(expected[name], value, 0, name);
        }
        Assert.Equal(ScalarType.BFloat16, reader.Tensors["type.bfloat16"].Type);
        Assert.Equal(ScalarType.Float16, reader.Tensors["half.columns"].Type);
        Assert.Equal("whole", Assert.Single(reader.Header.Aliases).Value);
        Assert.Equal(file == "odd_legacy.bin", reader.Header.IsLegacy);
    }

    [Fact]
    public void Open_checkpoint_of_another_writer_gives_its_tensors()
    {
        using var reader = new TorchPickleReader(SharedMaterial.Shared("models", "tiny_fair_checkpoint.pt"));
        Assert.Equal(21, reader.Tensors.Count);
        foreach (var (name, info) in reader.Tensors)
        {
            using var value = reader.Open(name);
            TensorNumbers.RequireFinite(value, info);
        }
    }

    [Fact]
    public void CheckpointDirectory_shards_of_pickles_are_loaded_as_a_model()
    {
        using var scope = NewDisposeScope();
        using var expected = GoldenTensors.Read(SharedMaterial.Golden("llama_tiny", "model.safetensors"));
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("torch", "llama_tiny"));
        Assert.Equal(2, folder.WeightFiles.Count);
        using var model = ModelLoader.Load(folder.Config, folder);
        Assert.Equal(expected.Names.Order(), model.Weights.Select(w => w.Name).Order());
        foreach (var weight in model.Weights)
            Near.AssertEqual(expected[weight.Name].to(ScalarType.Float16), weight.Value, 0, weight.Name);
    }

    [Fact]
    public void CheckpointDirectory_tied_head_stored_under_two_names_is_taken_once()
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("torch", "tied"));
        using var model = ModelLoader.Load(folder.Config, folder);
        Assert.DoesNotContain("lm_head.weight", folder.Tensors.Keys);
    }

    [Fact]
    public void CheckpointDirectory_both_formats_safetensors_wins()
    {
        using var both = new TemporaryFolder();
        foreach (var file in Directory.GetFiles(SharedMaterial.Golden("torch", "llama_tiny")))
            File.Copy(file, both[Path.GetFileName(file)]);
        File.Copy(SharedMaterial.Golden("llama_tiny", "model.safetensors"), both["model.safetensors"]);
        using var folder = CheckpointDirectory.Open(both.Root);
        Assert.Equal([both["model.safetensors"]], folder.WeightFiles);
    }

    [Theory]
    [InlineData("cos\nsystem\n(X\x0a\0\0\0touch /tmptR.", "'os.system'")]
    [InlineData("cbuiltins\neval\n", "'builtins.eval'")]
    [InlineData("\x8c\x02os\x8c\x06system\x93", "'os.system'")]
    [InlineData("ctorch.storage\n_load_from_bytes\n", "'torch.storage._load_from_bytes'")]
    [InlineData("ctorch\nload\n", "'torch.load'")]
    [InlineData("ctorch\nQUInt8Storage\n", "'torch.QUInt8Storage'")]
    [InlineData("ccollections\nOrderedDict\n)\x81.", "an object of a class")]
    [InlineData("(ios\nsystem\n", "'os.system'")]
    [InlineData("Pname\n.", "'name', a persistent name")]
    [InlineData("C\x01x.", "raw bytes")]
    public void Read_pickle_that_asks_for_anything_else_is_refused_by_name(string pickle, string named)
    {
        using var folder = new TemporaryFolder();
        foreach (
            var path in (string[])
                [Zip(folder, "zip.bin", "\x80\x02" + pickle), Bytes(folder, "plain.bin", "\x80\x02" + pickle + "        ")]
        )
        {
            var message = Assert.Throws<CheckpointException>(() => new TorchPickleReader(path)).Message;
            Assert.StartsWith($"{path}: the pickle asks for {named}", message);
            Assert.Contains("nothing in them is ever executed", message);
        }
        Assert.False(File.Exists("/tmp/tmp"));
    }

    [Theory]
    [InlineData("", "an early end")]
    [InlineData("}", "an early end")]
    [InlineData("v", "an unknown or unused opcode 0x76")]
    [InlineData("h\x05.", "a reference to value 5, which does not exist")]
    [InlineData("t.", "no mark on its stack")]
    [InlineData("R.", "too few values on its stack")]
    [InlineData("K\x01K\x02s.", "an empty stack")]
    [InlineData("X\xff\xff\xff\x7f.", "a string of 2147483647 bytes")]
    [InlineData("X\xff\xff\xff\xff.", "a string of 4294967295 bytes")]
    [InlineData("(ccollections\nOrderedDict\nK\x01\x85R.", "a call of collections.OrderedDict with wrong arguments")]
    [InlineData(
        "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\00X\x03\0\0\0cpuJ\xff\xff\xff\xfftQ.",
        "a storage that is not described as in PyTorch"
    )]
    public void Read_damaged_pickle_is_refused(string pickle, string what)
    {
        using var folder = new TemporaryFolder();
        var path = Zip(folder, "a.bin", "\x80\x02" + pickle);
        Assert.Contains($"the pickle has {what} at byte", Assert.Throws<CheckpointException>(() => new TorchPickleReader(path)).Message);
    }

    [Theory]
    [InlineData(0, 4, 1, 8, null)]
    [InlineData(1, 4, 1, 8, "at element 1 that reaches beyond its storage of 4 elements")]
    [InlineData(0, 5, 1, 8, "reaches beyond its storage of 4 elements")]
    [InlineData(0, 2, 4, 8, "reaches beyond its storage of 4 elements")]
    [InlineData(0, 5, 0, 8, "with more elements than the 4 of its storage")]
    [InlineData(0, 4, 1, 7, "'a/data/0' has 7 bytes, but 4 elements of HalfStorage need 8")]
    [InlineData(0, 4, 1, -1, "has no member 'a/data/0'")]
    public void Read_tensor_that_does_not_fit_its_storage_is_refused(int offset, int size, int stride, int bytes, string? message)
    {
        const string text =
            "\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n"
            + "((X\x07\0\0\0storagectorch\nHalfStorage\nX\x01\0\0\00X\x03\0\0\0cpuK\x04tQ";
        var pickle = $"{text}K{(char)offset}K{(char)size}\x85K{(char)stride}\x85\u0089ccollections\nOrderedDict\n)RtRs.";
        using var folder = new TemporaryFolder();
        var path = Zip(folder, "a.bin", pickle, bytes);
        if (message is null)
        {
            using var reader = new TorchPickleReader(path);
            using var value = reader.Open("w");
            Assert.Equal([4], value.shape);
        }
        else
        {
            Assert.Contains(message, Assert.Throws<CheckpointException>(() => new TorchPickleReader(path)).Message);
        }
    }

    [Fact]
    public void Read_every_truncation_is_refused()
    {
        using var folder = new TemporaryFolder();
        foreach (var (name, step) in (IEnumerable<(string, int)>)[("odd.bin", 97), ("odd_legacy.bin", 53)])
        {
            var whole = File.ReadAllBytes(SharedMaterial.Golden("torch", name));
            for (var length = 0; length < whole.Length; length += step)
            {
                File.WriteAllBytes(folder["cut.bin"], whole[..length]);
                Assert.Throws<CheckpointException>(() => new TorchPickleReader(folder["cut.bin"]));
            }
        }
    }

    [Fact]
    public void Read_any_flipped_byte_of_the_headers_is_refused_or_harmless()
    {
        using var folder = new TemporaryFolder();
        var whole = File.ReadAllBytes(SharedMaterial.Golden("torch", "odd.bin"));
        for (var at = 0; at < whole.Length; at += 7)
        {
            var damaged = (byte[])whole.Clone();
            damaged[at] ^= 0xA5;
            File.WriteAllBytes(folder["a.bin"], damaged);
            try
            {
                using var reader = new TorchPickleReader(folder["a.bin"]);
                foreach (var name in reader.Tensors.Keys)
                    reader.Open(name).Dispose();
            }
            catch (CheckpointException)
            {
                // What a message says of damage is for the other tests.
            }
        }
    }

    [Theory]
    [InlineData("zip end", "PK\x05\x06\0\0\0\0\xff\xfe\xff\xfe\xf0\xff\xff\x7f\0\0\0\0\0\0", "the archive")]
    [InlineData("zeros", "\0\0\0\0", "the archive has no table at its end")]
    public void Read_sparse_file_with_lying_header_does_not_allocate(string what, string tail, string message)
    {
        using var folder = new TemporaryFolder();
        using (var stream = File.Create(folder["big.bin"]))
        {
            stream.Write("PK\x03\x04"u8);
            stream.SetLength(2L << 30);
            stream.Position = stream.Length - tail.Length;
            stream.Write(Encoding.Latin1.GetBytes(tail));
        }
        var before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains(message, Assert.Throws<CheckpointException>(() => new TorchPickleReader(folder["big.bin"])).Message);
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 4_000_000, what);
    }

    [Fact]
    public void Read_sparse_legacy_file_that_claims_a_long_text_does_not_allocate()
    {
        using var folder = new TemporaryFolder();
        using (var stream = File.Create(folder["big.bin"]))
        {
            stream.Write([0x80, 2, (byte)'X', 0xFF, 0xFF, 0xFF, 0x6F]);
            stream.SetLength(2L << 30);
        }
        var before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains(
            "a string of 1879048191 bytes",
            Assert.Throws<CheckpointException>(() => new TorchPickleReader(folder["big.bin"])).Message
        );
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 4_000_000);
    }

    [Fact]
    public void Read_compressed_member_is_refused()
    {
        using var folder = new TemporaryFolder();
        var path = Zip(folder, "a.bin", new string('}', 500), level: CompressionLevel.Optimal);
        Assert.Contains(
            "'a/data.pkl' in the archive is compressed",
            Assert.Throws<CheckpointException>(() => new TorchPickleReader(path)).Message
        );
    }

    [Theory]
    [InlineData("version https://git-lfs.github.com/spec/v1\n", "It is a Git LFS pointer")]
    [InlineData("", "It is empty.")]
    [InlineData("<html><body>404", "It is of another kind")]
    public void CheckpointDirectory_file_of_another_kind_is_told_by_what_it_is(string text, string message)
    {
        using var folder = new TemporaryFolder();
        File.Copy(SharedMaterial.Golden("torch", "tied", "config.json"), folder["config.json"]);
        folder.Text("pytorch_model.bin", text);
        Assert.Contains(message, Assert.Throws<CheckpointException>(() => CheckpointDirectory.Open(folder.Root)).Message);
    }

    [Fact]
    public void Read_something_else_than_a_dictionary_of_tensors_says_what_it_is()
    {
        using var folder = new TemporaryFolder();
        var path = Zip(folder, "a.bin", "\x80\x02}X\x05\0\0\0epochK\x03s.");
        Assert.Contains(
            "contains a dictionary of epoch, but it must contain a dictionary of tensors",
            Assert.Throws<CheckpointException>(() => new TorchPickleReader(path)).Message
        );
    }

    /// <summary>An archive like PyTorch's with this pickle (each character a byte), and a storage 0 of so many zero bytes.</summary>
    private static string Zip(
        TemporaryFolder folder,
        string name,
        string pickle,
        int storageBytes = -1,
        CompressionLevel level = CompressionLevel.NoCompression
    )
    {
        using var archive = new ZipArchive(File.Create(folder[name]), ZipArchiveMode.Create);
        using (var stream = archive.CreateEntry("a/data.pkl", level).Open())
            stream.Write(Encoding.Latin1.GetBytes(pickle));
        if (storageBytes >= 0)
        {
            using var stream = archive.CreateEntry("a/data/0", level).Open();
            stream.Write(new byte[storageBytes]);
        }
        return folder[name];
    }

    private static string Bytes(TemporaryFolder folder, string name, string text)
    {
        File.WriteAllBytes(folder[name], Encoding.Latin1.GetBytes(text));
        return folder[name];
    }
}
