using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class SafetensorsHeaderTests
{
    private const string Good =
        """{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}""";

    [Fact]
    public void Read_good_file_tells_types_shapes_and_order_of_data()
    {
        using var folder = new TemporaryFolder();
        var header = SafetensorsHeader.Read(folder.Safetensors("x", Good + "   ", 20));
        Assert.Equal(["a", "b"], header.Tensors.Keys);
        Assert.Equal(ScalarType.Float16, header.Tensors["b"].Type);
        Assert.Equal([2, 3], header.Tensors["b"].Shape);
        Assert.Equal(12, header.Tensors["b"].ByteCount);
        Assert.Equal(1, header.Tensors["a"].ElementCount);
        Assert.Equal("pt", header.Metadata["format"]);
        Assert.Equal(20, header.DataBytes);
    }

    [Fact]
    public void Read_empty_header_is_a_file_without_tensors()
    {
        using var folder = new TemporaryFolder();
        Assert.Empty(SafetensorsHeader.Read(folder.Safetensors("x", "{}", 0)).Tensors);
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}""", 8, "not valid JSON")]
    [InlineData("""[1,2]""", 0, "StartObject expected, StartArray seen")]
    [InlineData("""{"a":1}""", 0, "'a': StartObject expected, Number seen")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x""", 8, "not valid JSON")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}""", 8, "not valid JSON")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}""", 8, "shape of 'a': integers from 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "shape of 'a': integers from 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}""", 8, "shape of 'a': integers from 0")]
    [InlineData(
        """{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}""",
        2,
        "'a' has type 'F8_E4M3', which is not supported. The supported types are F64, F32, F16, BF16"
    )]
    [InlineData("""{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8, "'a' has no shape")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "'a' has no data_offsets with two numbers")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}}""", 8, "data_offsets of 'a' has more than 2 numbers")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}""", 8, "'a' has 'shape' twice")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"scale":1}}""", 8, "'a' has an unknown field 'scale'")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""",
        8,
        "'a', F32 [3], needs 12 bytes, but its data_offsets [0, 8] span 8"
    )]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "'a' ends at 0, before it begins at 8")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}""",
        8,
        "'a', F32 [4294967296, 4294967296], is larger than any file"
    )]
    [InlineData("""{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "is larger than any file")]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""",
        12,
        "'a' begins at data byte 4, but the tensors before it end at 0: the data has a gap"
    )]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""",
        12,
        "'b' begins at data byte 4, but the tensors before it end at 8: the data overlap"
    )]
    [InlineData(
        """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}""",
        16,
        "the header contains 'a' twice"
    )]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 11, "3 bytes belong to no tensor")]
    [InlineData("""{"__metadata__":{"n":1}}""", 0, "__metadata__ 'n': String expected, Number seen")]
    [InlineData("""{"__metadata__":{"n":"1","n":"2"}}""", 0, "__metadata__ contains 'n' twice")]
    [InlineData("{\"a\xff\":1}", 0, "not valid UTF-8")]
    [InlineData("""{"a\ud800":1}""", 0, "not valid UTF-8")]
    public void Read_damaged_header_is_refused_with_its_reason(string header, int dataBytes, string reason)
    {
        using var folder = new TemporaryFolder();
        var path = folder.Safetensors("bad.safetensors", header, dataBytes);
        var error = Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(path));
        Assert.StartsWith(path + ": ", error.Message, StringComparison.Ordinal);
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_truncated_file_names_both_sizes_and_the_first_broken_tensor()
    {
        using var folder = new TemporaryFolder();
        var path = folder.Safetensors("x", Good, 20);
        var whole = new FileInfo(path).Length;
        using (var file = File.OpenWrite(path))
            file.SetLength(whole - 5);
        var error = Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(path));
        Assert.Contains(
            $"its header requires {whole} bytes, but it has {whole - 5} bytes (the first incomplete tensor is 'b')",
            error.Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(0, "the file has 0 bytes")]
    [InlineData(7, "the file has 7 bytes")]
    [InlineData(30, "its header ends at byte")]
    public void Read_file_cut_in_its_header_is_refused(int length, string reason)
    {
        using var folder = new TemporaryFolder();
        var path = folder.Safetensors("x", Good, 20);
        using (var file = File.OpenWrite(path))
            file.SetLength(length);
        Assert.Contains(reason, Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_missing_file_and_folder_are_named()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(
            $"{folder["no"]} does not exist.",
            Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(folder["no"])).Message
        );
        Assert.Contains(
            "is a folder",
            Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(folder.Root)).Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(2_147_483_640, "claims a header of 2147483640 bytes")]
    [InlineData(99_000_000, "not valid JSON")]
    [InlineData(ulong.MaxValue, "claims a header of 18446744073709551615 bytes")]
    public void Read_large_sparse_file_with_a_lying_length_allocates_nothing_for_it(ulong claimed, string reason)
    {
        using var folder = new TemporaryFolder();
        var path = folder.Safetensors("x", "{", 0, claimed);
        using (var file = File.OpenWrite(path))
            file.SetLength(1L << 31);
        var error = AllocatesLittle(() => Assert.Throws<CheckpointException>(() => SafetensorsHeader.Read(path)));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_every_flipped_or_cut_header_is_refused_or_consistent()
    {
        using var folder = new TemporaryFolder();
        var original = File.ReadAllBytes(folder.Safetensors("x", Good, 20));
        var path = folder["damaged"];
        var (tried, refused) = (0, 0);
        void Try(byte[] bytes)
        {
            File.WriteAllBytes(path, bytes);
            tried++;
            AllocatesLittle(() =>
            {
                try
                {
                    // A changed letter in a name leaves a good file; then its tensors still fill it.
                    var header = SafetensorsHeader.Read(path);
                    Assert.Equal(header.DataBytes, header.Tensors.Values.Sum(t => t.ByteCount));
                }
                catch (CheckpointException)
                {
                    refused++;
                }
                return 0;
            });
        }

        for (var i = 0; i < original.Length - 20; i++)
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
        Assert.InRange(refused, tried * 9 / 10, tried - 1);
    }

    private static T AllocatesLittle<T>(Func<T> action)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var result = action();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        return result;
    }
}
