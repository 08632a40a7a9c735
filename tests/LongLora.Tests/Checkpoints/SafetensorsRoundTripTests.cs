using System.Buffers.Binary;
using System.Text.Json;
using CsCheck;
using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class SafetensorsRoundTripTests
{
    public static TheoryData<ScalarType> Types =>
        [
            ScalarType.Float64,
            ScalarType.Float32,
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
    [MemberData(nameof(Types))]
    public void Write_then_read_every_type_is_equal_to_the_bit(ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var written = randn(7, 3).mul(Scalars.Of(40)).to(type);
        SafetensorsWriter.Write(
            folder["x"],
            [TensorToWrite.Of("odd", ones(3, ScalarType.Byte)), TensorToWrite.Of("x", written), TensorToWrite.Of("one", tensor(5).to(type))]
        );
        using var reader = new SafetensorsReader(folder["x"]);
        using var read = reader.Open("x");
        Assert.Equal(type, read.dtype);
        Assert.Equal([7, 3], read.shape);
        Assert.Equal(Bytes(written), Bytes(read));
        Assert.Empty(reader.Open("one").shape);
        Assert.Equal(5 % (type == ScalarType.Bool ? 2 : 10), reader.Open("one").to(ScalarType.Int64).item<long>());
    }

    [Fact]
    public void Write_keeps_numbers_that_are_not_finite_and_negative_zero()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var written = tensor([float.NaN, float.NegativeInfinity, -0f, float.Epsilon]);
        SafetensorsWriter.Write(folder["x"], [TensorToWrite.Of("x", written)]);
        using var reader = new SafetensorsReader(folder["x"]);
        Assert.Equal(Bytes(written), Bytes(reader.Open("x")));
    }

    [Fact]
    public void Write_views_converts_and_transposes_as_they_appear()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var whole = arange(12, ScalarType.Float32).view(3, 4);
        SafetensorsWriter.Write(
            folder["x"],
            [
                TensorToWrite.Of("column", whole.narrow(1, 1, 2)),
                TensorToWrite.Of("turned", whole.t()),
                new TensorToWrite("half", ScalarType.BFloat16, [3, 4], () => whole + 0.5f),
                TensorToWrite.Of("empty", empty(0, 5)),
            ]
        );
        using var reader = new SafetensorsReader(folder["x"]);
        Assert.Equal([1f, 2, 5, 6, 9, 10], reader.Open("column").data<float>().ToArray());
        Assert.Equal(whole.t().contiguous().data<float>().ToArray(), reader.Open("turned").data<float>().ToArray());
        Near.AssertEqual((whole + 0.5f).to(ScalarType.BFloat16), reader.Open("half"), 0);
        Assert.Equal([0, 5], reader.Open("empty").shape);
    }

    [Fact]
    public void Write_lays_out_as_the_format_asks()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        SafetensorsWriter.Write(
            folder["x"],
            [TensorToWrite.Of("b", ones(3, ScalarType.Byte)), TensorToWrite.Of("ä", ones(2, ScalarType.Float32))],
            new Dictionary<string, string> { ["step"] = "7" }
        );
        var bytes = File.ReadAllBytes(folder["x"]);
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes);
        Assert.Equal(0, (8 + length) % 8);
        using var header = JsonDocument.Parse(bytes.AsMemory(8, length));
        Assert.Equal("""{"format":"pt","step":"7"}""", header.RootElement.GetProperty("__metadata__").GetRawText());
        // The wider type lies first, so that each tensor is aligned.
        Assert.Equal("""{"dtype":"F32","shape":[2],"data_offsets":[0,8]}""", header.RootElement.GetProperty("ä").GetRawText());
        Assert.Equal("""{"dtype":"U8","shape":[3],"data_offsets":[8,11]}""", header.RootElement.GetProperty("b").GetRawText());
        Assert.Equal(8 + length + 11, bytes.Length);
    }

    [Fact]
    public void Open_mapped_values_equal_a_plain_reading_of_the_file()
    {
        using var scope = NewDisposeScope();
        var count = 0;
        foreach (var path in Directory.EnumerateFiles(SharedMaterial.Golden(), "*.safetensors", SearchOption.AllDirectories))
        {
            using var reader = new SafetensorsReader(path);
            using var golden = GoldenTensors.Read(path);
            Assert.Equal(golden.Names.Order(), reader.Tensors.Keys.Order());
            foreach (var name in reader.Tensors.Keys)
            {
                using var mapped = reader.Open(name);
                Assert.Equal(golden[name].dtype, mapped.dtype);
                Assert.Equal(golden[name].shape, mapped.shape);
                Assert.Equal(Bytes(golden[name]), Bytes(mapped));
                count++;
            }
        }
        Assert.True(count > 500, $"only {count} tensors seen");
    }

    [Theory]
    [InlineData("adapter_gemma3_270m_qkvo", 144)]
    [InlineData("adapter_gpt2_lora", 48)]
    public void Open_real_peft_file_is_read_whole(string folder, int tensors)
    {
        using var reader = new SafetensorsReader(SharedMaterial.Shared("models", folder, "adapter_model.safetensors"));
        Assert.Equal(tensors, reader.Tensors.Count);
        foreach (var (name, info) in reader.Tensors)
        {
            using var tensor = reader.Open(name);
            TensorNumbers.RequireFinite(tensor, info);
        }
    }

    [Theory]
    [InlineData("adapter_gemma3_270m_qkvo")]
    [InlineData("adapter_gpt2_lora")]
    public void Write_what_was_read_gives_the_bytes_of_the_format_s_own_library(string folder)
    {
        var path = SharedMaterial.Shared("models", folder, "adapter_model.safetensors");
        using var output = new TemporaryFolder();
        using var reader = new SafetensorsReader(path);
        SafetensorsWriter.Write(
            output["x"],
            [.. reader.Tensors.Values.Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, () => reader.Open(t.Name)))],
            reader.Metadata
        );
        Assert.Equal(File.ReadAllBytes(path), File.ReadAllBytes(output["x"]));
    }

    [Fact]
    public void Open_makes_no_copy_unless_the_place_is_not_aligned()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        const string entry = """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""";
        using var aligned = new SafetensorsReader(folder.Safetensors("aligned", entry.PadRight(56), 8));
        using var odd = new SafetensorsReader(folder.Safetensors("odd", entry.PadRight(57), 8));
        Assert.Equal(NativeTensor.GetPointer(aligned.Open("a")), NativeTensor.GetPointer(aligned.Open("a")));
        Assert.NotEqual(NativeTensor.GetPointer(odd.Open("a")), NativeTensor.GetPointer(odd.Open("a")));
        Assert.Equal([0f, 0f], odd.Open("a").data<float>().ToArray());
    }

    [Fact]
    public void Open_unknown_name_and_closed_reader_are_refused()
    {
        var path = SharedMaterial.Golden("stories260K-hf", "model.safetensors");
        var reader = new SafetensorsReader(path);
        var error = Assert.Throws<CheckpointException>(() => reader.Open("model.norm.weigth"));
        Assert.Equal($"{path} has no tensor 'model.norm.weigth'. Did you mean 'model.norm.weight'?", error.Message);
        reader.Dispose();
        reader.Dispose();
        Assert.Throws<ObjectDisposedException>(() => reader.Open("model.norm.weight"));
    }

    [Fact]
    public void Write_then_read_random_files_agree()
    {
        var names = Gen.String[Gen.Char.AlphaNumeric, 0, 12]
            .Select(Gen.String[0, 3], (a, b) => a + new string([.. b.Where(c => !char.IsSurrogate(c))]));
        var types = Gen.Int[0, Types.Count - 1].Select(i => Types.ElementAt(i).Data);
        Gen.Select(names, types, Gen.Long[0, 5].Array[0, 4], Gen.Int[0, 1 << 20])
            .Array[0, 12]
            .Sample(
                entries =>
                {
                    using var scope = NewDisposeScope();
                    using var folder = new TemporaryFolder();
                    var tensors = entries
                        .DistinctBy(e => e.Item1)
                        .Where(e => e.Item1 != "__metadata__")
                        .Select(e =>
                            (Name: e.Item1, Value: rand(e.Item3, generator: new Generator((ulong)e.Item4)).mul(Scalars.Of(3)).to(e.Item2))
                        )
                        .ToList();
                    SafetensorsWriter.Write(folder["x"], [.. tensors.Select(t => TensorToWrite.Of(t.Name, t.Value))]);
                    using var reader = new SafetensorsReader(folder["x"]);
                    Assert.Equal(tensors.Count, reader.Tensors.Count);
                    foreach (var (name, value) in tensors)
                    {
                        using var read = reader.Open(name);
                        Assert.Equal(value.dtype, read.dtype);
                        Assert.Equal(value.shape, read.shape);
                        Assert.Equal(Bytes(value), Bytes(read));
                    }
                },
                iter: 200,
                threads: 1
            );
    }

    [Fact]
    public void Write_same_name_twice_or_another_shape_is_refused_and_leaves_the_old_file()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var path = folder.Text("x", "old");
        var one = TensorToWrite.Of("a", ones(2));
        Assert.Contains(
            "two tensors have the name 'a'",
            Assert.Throws<ShapeException>(() => SafetensorsWriter.Write(path, [one, one])).Message,
            StringComparison.Ordinal
        );
        var wrong = new TensorToWrite("b", ScalarType.Float32, [2], () => ones(3));
        Assert.Equal(
            "'b' was announced as [2] but made as [3].",
            Assert.Throws<ShapeException>(() => SafetensorsWriter.Write(path, [one, wrong])).Message
        );
        Assert.Throws<InvalidOperationException>(() =>
            SafetensorsWriter.Write(
                path,
                [one, new TensorToWrite("b", ScalarType.Float32, [2], () => throw new InvalidOperationException())]
            )
        );
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Root));
    }

    [Fact]
    public void Write_makes_and_disposes_one_tensor_at_a_time()
    {
        using var folder = new TemporaryFolder();
        var made = new List<Tensor>();
        Tensor Make()
        {
            Assert.All(made, earlier => Assert.True(earlier.IsInvalid));
            made.Add(ones(8));
            return made[^1];
        }
        SafetensorsWriter.Write(
            folder["x"],
            [.. Enumerable.Range(0, 20).Select(i => new TensorToWrite($"t{i}", ScalarType.Float32, [8], Make))]
        );
        Assert.Equal(20, made.Count(tensor => tensor.IsInvalid));
    }

    private static byte[] Bytes(Tensor tensor)
    {
        using var value = tensor.contiguous();
        return value.numel() == 0 ? [] : value.bytes.ToArray();
    }
}
