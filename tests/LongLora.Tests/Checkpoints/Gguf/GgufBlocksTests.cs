using LongLora.Checkpoints;

namespace LongLora.Tests.Checkpoints;

public class GgufBlocksTests
{
    private static readonly GgufType[] s_blocks = [.. Enum.GetValues<GgufType>().Where(t => GgufFormat.BlockSize(t) > 1)];

    public static TheoryData<string> Blocks => [.. s_blocks.Select(t => t.ToString())];

    public static TheoryData<string> Written => [.. GgufEncoder.Types.Select(t => t.ToString())];

    // Every bit of a block at random, only the scales kept finite; the same bits as the slow, obvious version.
    [Theory]
    [MemberData(nameof(Blocks))]
    public void Decode_random_blocks_equals_the_obvious_version(string name)
    {
        var type = Enum.Parse<GgufType>(name);
        const int count = 200;
        var random = new Random(7);
        var (size, bytes) = (GgufFormat.BlockSize(type), GgufFormat.BlockBytes(type));
        var blocks = new byte[count * bytes];
        random.NextBytes(blocks);
        for (var block = 0; block < count; block++)
        {
            foreach (var at in SlowGgufBlocks.Scales(type))
                BitConverter.TryWriteBytes(blocks.AsSpan(block * bytes + at), (Half)(random.NextSingle() * 4 - 2));
            if (type == GgufType.Mxfp4)
                blocks[block * bytes] = (byte)(block < 4 ? block : random.Next(100, 140));
        }
        Assert.Equal(-1, GgufBlocks.FirstNotFinite(type, blocks));
        var seen = new float[count * size];
        GgufBlocks.Decode(type, blocks, seen);
        for (var i = 0; i < seen.Length; i++)
            Assert.Equal(SlowGgufBlocks.Number(type, blocks.AsSpan(i / size * bytes, bytes), i % size), seen[i]);
    }

    [Theory]
    [MemberData(nameof(Blocks))]
    public void FirstNotFinite_finds_the_block_with_a_scale_that_is_none(string name)
    {
        var type = Enum.Parse<GgufType>(name);
        var bytes = GgufFormat.BlockBytes(type);
        if (type == GgufType.Mxfp4)
        {
            var one = new byte[5 * bytes];
            one[3 * bytes] = 255;
            Assert.Equal(3, GgufBlocks.FirstNotFinite(type, one));
            return;
        }
        foreach (var at in SlowGgufBlocks.Scales(type))
        {
            foreach (var bad in (Half[])[Half.NaN, Half.PositiveInfinity, Half.NegativeInfinity])
            {
                var blocks = new byte[5 * bytes];
                BitConverter.TryWriteBytes(blocks.AsSpan(3 * bytes + at), bad);
                Assert.Equal(3, GgufBlocks.FirstNotFinite(type, blocks));
            }
        }
    }

    // Rows in another order, and rectangles that begin and end inside a block.
    [Theory]
    [MemberData(nameof(Blocks))]
    public unsafe void Matrix_rectangles_are_those_of_the_whole(string name)
    {
        var type = Enum.Parse<GgufType>(name);
        const int rows = 6,
            columns = 768;
        var random = new Random(3);
        var data = new byte[GgufFormat.Bytes(type, rows * columns)];
        random.NextBytes(data);
        foreach (var block in Enumerable.Range(0, data.Length / GgufFormat.BlockBytes(type)))
        {
            foreach (var at in SlowGgufBlocks.Scales(type))
                BitConverter.TryWriteBytes(data.AsSpan(block * GgufFormat.BlockBytes(type) + at), (Half)random.NextSingle());
            if (type == GgufType.Mxfp4)
                data[block * GgufFormat.BlockBytes(type)] = 120;
        }
        var whole = new float[rows * columns];
        GgufBlocks.Decode(type, data, whole);
        int[] order = [5, 0, 3, 1, 2, 4];
        fixed (byte* at = data)
        {
            var matrix = new GgufMatrix(new("x", type, [rows, columns]), (nint)at, order, "x.gguf");
            matrix.RequireFinite();
            foreach (
                var (row, rowCount, column, columnCount) in ((int, int, int, int)[])
                    [(0, 6, 0, 768), (2, 3, 256, 512), (1, 4, 100, 300), (5, 1, 767, 1), (0, 2, 31, 2)]
            )
            {
                var part = new float[rowCount * columnCount];
                fixed (float* to = part)
                    matrix.Decode((row, rowCount), (column, columnCount), to);
                for (var i = 0; i < part.Length; i++)
                    Assert.Equal(whole[order[row + i / columnCount] * columns + column + i % columnCount], part[i]);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Blocks))]
    public unsafe void Dot_is_the_product_with_the_decoded_numbers(string name)
    {
        var type = Enum.Parse<GgufType>(name);
        // Small blocks are read in pairs: an odd number of them.
        var columns = GgufFormat.BlockSize(type) == GgufFormat.SmallBlock ? 800 : 768;
        var random = new Random(5);
        var data = new byte[GgufFormat.Bytes(type, columns)];
        random.NextBytes(data);
        for (var block = 0; block < data.Length; block += GgufFormat.BlockBytes(type))
        {
            foreach (var at in SlowGgufBlocks.Scales(type))
                BitConverter.TryWriteBytes(data.AsSpan(block + at), (Half)random.NextSingle());
            if (type == GgufType.Mxfp4)
                data[block] = 120;
        }
        var (row, x) = (new float[columns], new float[columns]);
        GgufBlocks.Decode(type, data, row);
        for (var i = 0; i < columns; i++)
            x[i] = random.NextSingle() - 0.5f;
        var sums = new float[columns / GgufBlocks.PartSize];
        sums.AsSpan().Fill(float.NaN);
        var products = row.Zip(x, (a, b) => (double)a * b).ToList();
        fixed (byte* blocks = data)
        fixed (
            float* numbers = x,
                of = sums
        )
        {
            if (GgufBlocks.HasShift(type))
                GgufBlocks.SumParts(numbers, columns, of);
            Assert.Equal(products.Sum(), GgufBlocks.Dot(type, blocks, columns, numbers, of), 1e-6 * products.Sum(Math.Abs));
        }
    }

    // Half a step of the code at most, as the block itself says it, and a little for the rounding of scales.
    [Theory]
    [InlineData(nameof(GgufType.Q8_0), 0.006)]
    [InlineData(nameof(GgufType.Q6_K), 0.02)]
    [InlineData(nameof(GgufType.Q5_K), 0.04)]
    [InlineData(nameof(GgufType.Q5_0), 0.05)]
    [InlineData(nameof(GgufType.Q5_1), 0.04)]
    [InlineData(nameof(GgufType.Q4_K), 0.08)]
    [InlineData(nameof(GgufType.Q4_0), 0.1)]
    public void Encode_then_decode_is_near(string name, double tolerance)
    {
        var type = Enum.Parse<GgufType>(name);
        var random = new Random(11);
        var numbers = new float[256 * 40];
        for (var i = 0; i < numbers.Length; i++)
            numbers[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        numbers.AsSpan(0, 256).Clear();
        numbers.AsSpan(256, 256).Fill(0.5f);
        var (blocks, back) = (new byte[GgufFormat.Bytes(type, numbers.Length)], new float[numbers.Length]);
        GgufEncoder.Encode(type, numbers, blocks);
        GgufBlocks.Decode(type, blocks, back);
        Assert.All(back[..256], x => Assert.Equal(0, x));
        Assert.All(back[256..512], x => Assert.Equal(0.5, x, 0.004));
        var error = Math.Sqrt(numbers.Zip(back, (a, b) => (a - b) * (double)(a - b)).Sum() / numbers.Sum(x => x * (double)x));
        Assert.InRange(error, tolerance / 3, tolerance);
    }

    // The same model as llama.cpp's own quantizer has made of it: the same blocks, but for the rounding of sums.
    [Theory]
    [InlineData("Q4_0", 1)]
    [InlineData("Q5_0", 1)]
    [InlineData("Q5_1", 1)]
    [InlineData("Q8_0", 1)]
    [InlineData("Q6_K", 0.99)]
    [InlineData("Q4_K_M", 0.98)]
    [InlineData("Q5_K_M", 0.98)]
    public void Encode_gives_the_blocks_of_llama_cpp(string name, double leastShare)
    {
        using var whole = GgufReader.Read(SharedMaterial.Shared("goldens", "gguf", "F32.gguf"));
        using var theirs = GgufReader.Read(SharedMaterial.Shared("goldens", "gguf", name + ".gguf"));
        var (same, all) = (0, 0);
        foreach (var (tensor, info) in theirs.Tensors.Where(t => GgufEncoder.Types.Contains(t.Value.Type)))
        {
            using var numbers = whole.Open(tensor);
            var ours = new byte[info.ByteCount];
            GgufEncoder.Encode(info.Type, numbers.data<float>().ToArray(), ours);
            var expected = Bytes(theirs, tensor);
            var size = GgufFormat.BlockBytes(info.Type);
            for (var at = 0; at < ours.Length; at += size, all++)
                same += ours.AsSpan(at, size).SequenceEqual(expected.AsSpan(at, size)) ? 1 : 0;
        }
        TestContext.Current.SendDiagnosticMessage($"{name}: {same} of {all} blocks are the same");
        Assert.InRange((double)same / all, leastShare, 1);
        Assert.InRange(all, 1000, int.MaxValue);
    }

    private static unsafe byte[] Bytes(GgufReader file, string name)
    {
        var (info, address) = file.Find(name);
        return new ReadOnlySpan<byte>((void*)address, (int)info.ByteCount).ToArray();
    }
}
