using System.IO.Compression;
using LongLora.Data;
using LongLora.Runtime;
using ZstdSharp;

namespace LongLora.Tests.Data;

public class UnpackedStreamTests
{
    private static byte[] Pack(string extension)
    {
        byte[] content = [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * i % 251 % (i / 50 + 2)))];
        if (extension == ".zst")
        {
            using var compressor = new Compressor(5);
            return compressor.Wrap(content).ToArray();
        }
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.SmallestSize, leaveOpen: true))
            gzip.Write(content);
        return packed.ToArray();
    }

    [Theory]
    [InlineData(".gz")]
    [InlineData(".zst")]
    public void Read_of_damaged_data_says_so_or_gives_something_whatever_is_wrong(string extension)
    {
        using var folder = new TemporaryFolder();
        var (random, whole, refused) = (new Random(1), Pack(extension), 0);
        for (var i = 0; i < 2000; i++)
        {
            byte[] bytes = [.. whole];
            for (var n = random.Next(1, 6); n > 0; n--)
                bytes[random.Next(4, bytes.Length)] = (byte)random.Next(256);
            if (random.Next(4) == 0)
                bytes = bytes[..random.Next(bytes.Length)];
            var file = folder["a.txt" + extension];
            File.WriteAllBytes(file, bytes);
            IEnumerable<int> Read()
            {
                using var stream = DataFiles.Open(file);
                yield return stream.ReadAtLeast(new byte[20_000], 20_000, throwOnEndOfStream: false);
            }
            try
            {
                Assert.InRange(Assert.Single(DataFiles.Guard(Read(), file)), 0, 20_000);
            }
            catch (DataException e)
            {
                Assert.Contains(file, e.Message, StringComparison.Ordinal);
                refused++;
            }
        }
        Assert.True(refused > 1000, $"{refused} of 2000 were refused");
    }
}
