using LongLora.Checkpoints;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Tests.Checkpoints;

public sealed class GgufReaderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static GgufBytes Good() =>
        new GgufBytes()
            .Key("general.architecture", "llama")
            .Key("some.flag", true)
            .Key("some.list", 1, 2, 3)
            .Key("some.words", "a", "", "b c")
            .Floats("one", 5)
            .Tensor("two", (int)GgufType.Q8_0, new byte[2 * 34], 32, 2);

    private string File(byte[] bytes)
    {
        System.IO.File.WriteAllBytes(_folder["a.gguf"], bytes);
        return _folder["a.gguf"];
    }

    private CheckpointException Refused(GgufBytes file) => Refused(file.Build());

    private CheckpointException Refused(byte[] bytes) => Assert.Throws<CheckpointException>(() => GgufReader.Read(File(bytes)));

    [Theory]
    [InlineData(2u)]
    [InlineData(3u)]
    public void Read_good_file_tells_keys_types_and_shapes(uint version)
    {
        var bytes = Good();
        bytes.Version = version;
        using var file = GgufReader.Read(File(bytes.Build()));
        Assert.Equal("llama", file.Get<string>("general.architecture"));
        Assert.True(file.Get<bool>("some.flag"));
        Assert.Equal([1, 2, 3], file.Get<IReadOnlyList<int>>("some.list"));
        Assert.Equal(["a", "", "b c"], file.Get<IReadOnlyList<string>>("some.words"));
        Assert.Equal(["one", "two"], file.Tensors.Keys);
        Assert.Equal([2, 32], file.Tensors["two"].Shape);
        Assert.Equal(
            (GgufType.Q8_0, 68L, 64L),
            (file.Tensors["two"].Type, file.Tensors["two"].ByteCount, file.Tensors["two"].ElementCount)
        );
        Assert.Contains("'some.list' is Int32[]", Assert.Throws<CheckpointException>(() => file.Get<string>("some.list")).Message);
        Assert.Contains("'no' is missing", Assert.Throws<CheckpointException>(() => file.Get<string>("no")).Message);
        Assert.Contains("has no tensor 'tow'", Assert.Throws<CheckpointException>(() => file.Open("tow")).Message);
    }

    [Theory]
    [InlineData(8)]
    [InlineData(64)]
    [InlineData(256)]
    public void Read_other_alignments_finds_the_data(int alignment)
    {
        var bytes = new GgufBytes { Alignment = alignment };
        bytes
            .Key("general.alignment", (uint)alignment)
            .Tensor("a", 0, BitConverter.GetBytes(1.5f), 1)
            .Tensor("b", 0, BitConverter.GetBytes(2.5f), 1);
        using var file = GgufReader.Read(File(bytes.Build()));
        using var value = file.Open("b");
        Assert.Equal(2.5f, value.item<float>());
    }

    [Fact]
    public void Read_last_tensor_without_padding_is_good_and_more_bytes_are_not()
    {
        var bytes = Good();
        bytes.PadsLast = false;
        using var file = GgufReader.Read(File(bytes.Build()));
        Assert.Equal(2, file.Tensors.Count);
        Assert.Contains("but its tensors end at byte", Refused([.. Good().Build(), 0]).Message);
    }

    [Fact]
    public void Read_damaged_header_is_refused_with_its_reason()
    {
        var cases = new (GgufBytes File, string Reason)[]
        {
            (new GgufBytes { Magic = 0x47475546 }, "does not start with 'GGUF'"),
            (new GgufBytes { Version = 1 }, "has version 1, but only versions 2 and 3 are supported"),
            (new GgufBytes { Version = 4 }, "has version 4"),
            (new GgufBytes { Version = 0x0300_0000 }, "is big-endian"),
            (new GgufBytes().Key("a", 1u).Key("a", 2u), "has the key 'a' twice"),
            (new GgufBytes().Key("", 1u), "has a key without a name"),
            (new GgufBytes().Key("a", 13, []), "'a' has the unknown value type 13"),
            (new GgufBytes().Key("a", GgufFormat.Bool, [2]), "'a' is a boolean, but its value is 2"),
            (new GgufBytes().Key("a", GgufFormat.List, GgufBytes.List(GgufFormat.List, 0)), "'a' is a list of lists"),
            (new GgufBytes().Key("a", GgufFormat.List, GgufBytes.List(77, 0)), "'a' is a list of the unknown value type 77"),
            (new GgufBytes().Key("a", GgufFormat.List, GgufBytes.List(GgufFormat.Int32, 1000)), "claims 1000 items of 'a'"),
            (new GgufBytes().Key("a", GgufFormat.List, GgufBytes.List(GgufFormat.Int32, -1)), "claims -1 items of 'a'"),
            (new GgufBytes().Key("a", GgufFormat.Text, BitConverter.GetBytes(-5L)), "claims a string of -5 bytes"),
            (new GgufBytes().Key("general.alignment", 12u), "general.alignment is 12"),
            (new GgufBytes().Key("general.alignment", 0u), "general.alignment is 0"),
            (new GgufBytes().Key("general.alignment", "32"), "general.alignment is 32, but it must be a multiple of 8"),
            (new GgufBytes().Key("general.alignment", uint.MaxValue), "general.alignment is 4294967295"),
            (new GgufBytes().Floats("a", 1).Floats("a", 1), "has the tensor 'a' twice"),
            (new GgufBytes().Floats("", 1), "the tensor name '' is empty"),
            (new GgufBytes().Floats(new string('x', 64), 1), "longer than 63 bytes"),
            (new GgufBytes().Tensor("a", 0, []), "'a' has 0 dimensions"),
            (new GgufBytes().Tensor("a", 0, new byte[4], 1, 1, 1, 1, 1), "'a' has 5 dimensions"),
            (new GgufBytes().Tensor("a", 0, [], 0), "'a' has a dimension of 0"),
            (new GgufBytes().Tensor("a", 0, [], -3), "'a' has a dimension of -3"),
            (new GgufBytes().Tensor("a", 8, new byte[34], 31), "rows of 31 numbers, which is not a multiple of the 32 in a block of Q8_0"),
            (
                new GgufBytes().Tensor("a", 12, new byte[144], 128, 2),
                "rows of 128 numbers, which is not a multiple of the 256 in a block of Q4_K"
            ),
            (new GgufBytes().Tensor("a", 0, new byte[64], 1L << 40, 1L << 40), "is not a valid GGUF file"),
            (new GgufBytes().Tensor("a", 0, new byte[64], long.MaxValue), "is not a valid GGUF file"),
            (new GgufBytes().Tensor("a", 0, new byte[64], 1 << 20), "it is truncated: 'a' ends at byte"),
            (
                new GgufBytes { Offset = (i, at) => at + 32 * i }
                    .Floats("a", 8)
                    .Floats("b", 8),
                "'b' starts at 64, but the tensors before it end at 32"
            ),
            (new GgufBytes { Offset = (_, at) => at - 32 }.Floats("a", 8), "'a' starts at -32"),
        };
        foreach (var (file, reason) in cases)
        {
            var message = Refused(file).Message;
            Assert.StartsWith(_folder["a.gguf"], message, StringComparison.Ordinal);
            Assert.Contains(reason, message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(20, "IQ4_NL")]
    [InlineData(23, "IQ4_XS")]
    [InlineData(16, "IQ2_XXS")]
    [InlineData(34, "TQ1_0")]
    [InlineData(28, "F64")]
    [InlineData(4, "Q4_2")]
    [InlineData(99, "number 99")]
    [InlineData(-1, "number 2147483647")]
    public void Read_types_that_are_not_supported_are_named(int type, string name)
    {
        var message = Refused(new GgufBytes().Tensor("blk.0.x", type, new byte[256], 256)).Message;
        Assert.Contains($"the tensor 'blk.0.x' has the type {name}, which is not supported", message, StringComparison.Ordinal);
        Assert.Contains("Q4_K, Q5_K, Q6_K, BF16, MXFP4", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_missing_file_and_folder_are_named()
    {
        Assert.Contains("does not exist", Assert.Throws<CheckpointException>(() => GgufReader.Read(_folder["no"])).Message);
        Assert.Contains("is a folder", Assert.Throws<CheckpointException>(() => GgufReader.Read(_folder.Root)).Message);
    }

    [Fact]
    public void Read_every_flipped_or_cut_byte_is_refused_or_consistent()
    {
        var original = Good().Build();
        var (tried, refused) = (0, 0);
        void Try(byte[] bytes)
        {
            var path = File(bytes);
            tried++;
            var before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                using var file = GgufReader.Read(path);
                Assert.All(file.Tensors.Values, t => Assert.InRange(t.ByteCount, 1, bytes.Length));
            }
            catch (CheckpointException)
            {
                refused++;
            }
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        }

        for (var i = 0; i < original.Length - 128; i++)
        {
            foreach (var mask in (ReadOnlySpan<byte>)[0x01, 0x02, 0x08, 0x10, 0x80, 0xff])
            {
                var bytes = original.ToArray();
                bytes[i] ^= mask;
                Try(bytes);
            }
        }
        for (var length = 0; length < original.Length; length++)
            Try(original[..length]);
        // A changed letter or number of the metadata leaves a good file.
        Assert.InRange(refused, tried / 2, tried - 1);
    }

    // A whole small model, changed at random places: it opens, or it is refused in words; nothing else.
    [Fact]
    public void Open_seeded_mutations_of_a_model_are_refused_or_open()
    {
        var original = GgufModelFiles.Tiny().Build();
        var random = new Random(20261129);
        var (opened, refused) = (0, 0);
        for (var run = 0; run < 3000; run++)
        {
            var bytes = original.ToArray();
            for (var change = random.Next(1, 4); change > 0; change--)
            {
                var at = random.Next(bytes.Length - 64);
                switch (random.Next(4))
                {
                    case 0:
                        bytes[at] = (byte)random.Next(256);
                        break;
                    case 1:
                        bytes[at] ^= (byte)(1 << random.Next(8));
                        break;
                    case 2:
                        BitConverter.TryWriteBytes(bytes.AsSpan(at), random.NextInt64());
                        break;
                    default:
                        bytes = [.. bytes[..at], .. bytes[(at + random.Next(1, 9))..]];
                        break;
                }
            }
            try
            {
                using var model = GgufModel.Open(File(bytes));
                _ = model.Tokenizer?.Encode("a b c", addSpecial: true, parseSpecial: true);
                _ = model.GenerationConfigText + model.ConfigText + model.ChatTemplate + model.Name;
                foreach (var name in model.Tensors.Keys)
                    model.Weights.Open(name).Dispose();
                opened++;
            }
            catch (CheckpointException e)
            {
                Assert.NotEmpty(e.Message);
                refused++;
            }
        }
        Assert.InRange(refused, 1000, 2999);
        Assert.InRange(opened, 1, 2000);
    }

    [Fact]
    public void Open_parts_of_a_split_model_is_the_whole_from_any_of_them()
    {
        GgufModelFiles.WriteParts(_folder, "m", 3);
        foreach (var part in new[] { 1, 2, 3 })
        {
            using var model = GgufModel.Open(_folder[$"m-0000{part}-of-00003.gguf"]);
            Assert.Equal(3, model.Files.Count);
            Assert.Equal(GgufModelFiles.TensorCount, model.Tensors.Count);
            using var norm = model.Weights.Open("model.norm.weight");
            Assert.Equal(1, norm[0].item<float>());
        }
    }

    [Fact]
    public void Open_parts_that_do_not_belong_together_are_refused()
    {
        string Message(int part = 1) =>
            Assert.Throws<CheckpointException>(() => GgufModel.Open(_folder[$"m-0000{part}-of-00003.gguf"]).Dispose()).Message;

        GgufModelFiles.WriteParts(_folder, "m", 3);
        System.IO.File.Delete(_folder["m-00002-of-00003.gguf"]);
        Assert.Contains("but m-00002-of-00003.gguf is missing", Message());
        System.IO.File.Copy(_folder["m-00003-of-00003.gguf"], _folder["m-00002-of-00003.gguf"]);
        Assert.Contains("contains part 3 of 3, but its name says part 2 of 3", Message(3));

        GgufModelFiles.WriteParts(_folder, "m", 3, promised: 99);
        Assert.Contains($"lists 99 tensors, but the 3 parts have {GgufModelFiles.TensorCount}", Message());
        GgufModelFiles.WriteParts(_folder, "m", 3, twice: true);
        Assert.Contains("'output_norm.weight' is both in", Message());
        GgufModelFiles.WriteParts(_folder, "m", 3);
        System.IO.File.Move(_folder["m-00001-of-00003.gguf"], _folder["other.gguf"]);
        Assert.Contains(
            "is one of 3 parts of a model, but its name does not say which",
            Assert.Throws<CheckpointException>(() => GgufModel.Open(_folder["other.gguf"]).Dispose()).Message
        );
    }
}
