using System.IO.Compression;
using System.Text;
using LongLora.Data;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public sealed class DataEdgeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string WriteFile(string name, byte[] bytes)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static List<TrainingExample> Read(string path) => [.. ExampleSources.Open([path], new Bytes(), 300).Read()];

    private static string Refused(string path) => Assert.Throws<DataException>(() => Read(path)).Message;

    private static byte[] Compress(byte[] bytes)
    {
        using var memory = new MemoryStream();
        using (var gzip = new GZipStream(memory, CompressionLevel.Fastest))
            gzip.Write(bytes);
        return memory.ToArray();
    }

    [Theory]
    [InlineData("a.txt.gz")]
    [InlineData("a.jsonl.gz")]
    [InlineData("a.bin.gz")]
    public void Read_gzip_cut_off_anywhere_is_refused(string name)
    {
        var whole = Compress(Encoding.UTF8.GetBytes(string.Join('\n', Enumerable.Range(0, 20_000).Select(i => $"{{\"text\":\"{i}\"}}  "))));
        foreach (var length in new[] { 5, whole.Length / 2, whole.Length - 8, whole.Length - 1 })
            Assert.Contains("gzip", Refused(WriteFile(name, whole[..length])), StringComparison.Ordinal);
    }

    [Fact]
    public void Read_bad_gzip_of_tokens_is_refused() =>
        Assert.Contains("gzip", Refused(WriteFile("a.bin.gz", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])), StringComparison.Ordinal);

    [Fact]
    public void Read_gzip_of_several_members_is_read_to_the_end()
    {
        byte[] members = [.. Compress("one "u8.ToArray()), .. Compress("two"u8.ToArray())];
        Assert.Equal("one two", Text(Assert.Single(Read(WriteFile("a.txt.gz", members)))));
    }

    [Fact]
    public void Read_invalid_utf8_far_into_a_text_names_its_byte_and_line()
    {
        var bytes = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("été\n", 50_000)));
        bytes[200_001] = 0xC0;
        var message = Refused(WriteFile("a.txt", bytes));
        Assert.Contains("byte 200001", message, StringComparison.Ordinal);
        Assert.Contains($"a.txt:{bytes.AsSpan(0, 200_001).Count((byte)'\n') + 1}", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_invalid_utf8_in_json_lines_names_its_line()
    {
        var lines = Enumerable.Range(1, 200).Select(i => (byte[])[.. "{\"text\":\"a"u8, i == 150 ? (byte)0xE9 : (byte)'b', .. "\"}\n"u8]);
        Assert.Contains("a.jsonl:150", Refused(WriteFile("a.jsonl", [.. lines.SelectMany(line => line)])), StringComparison.Ordinal);
    }

    [Fact]
    public void Read_half_a_surrogate_pair_in_json_is_refused_with_its_line() =>
        Assert.Contains("a.jsonl:1", Refused(WriteFile("a.jsonl", "{\"text\":\"\\ud800\"}"u8.ToArray())), StringComparison.Ordinal);

    [Fact]
    public void Read_blank_json_line_is_passed_over() =>
        Assert.Equal("a", Text(Assert.Single(Read(WriteFile("a.jsonl", "  \r\n{\"text\":\"a\"}\n\t\n"u8.ToArray())))));

    [Fact]
    public void Read_byte_order_mark_is_dropped()
    {
        Assert.Equal("a", Text(Assert.Single(Read(WriteFile("a.txt", "\uFEFFa"u8.ToArray())))));
        Assert.Equal("a", Text(Assert.Single(Read(WriteFile("a.jsonl", "\uFEFF{\"text\":\"a\"}"u8.ToArray())))));
    }

    [Fact]
    public void Read_file_that_has_gone_is_refused()
    {
        var path = WriteFile("a.txt", "x"u8.ToArray());
        var source = ExampleSources.Open([path], new Bytes(), 300);
        File.Delete(path);
        Assert.Contains("a.txt", Assert.Throws<DataException>(() => source.Read().Count()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_folder_with_a_link_to_itself_ends()
    {
        WriteFile("a.txt", "x"u8.ToArray());
        Directory.CreateSymbolicLink(Path.Combine(_folder, "loop"), _folder);
        Assert.Single(Read(_folder));
    }

    private static string Text(TrainingExample example) =>
        Encoding.UTF8.GetString([.. example.Ids.Where(id => id < 256).Select(id => (byte)id)]);

    private sealed class Bytes : ITokenizer
    {
        public int VocabularySize => 258;

        public int? BosTokenId => 256;

        public int? EosTokenId => 257;

        public int? PadTokenId => null;

        public IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false) =>
            [.. addSpecial ? [256] : Array.Empty<int>(), .. Encoding.UTF8.GetBytes(text.ToString()).Select(b => (int)b)];

        public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true) => throw new NotSupportedException();

        public int? FindToken(string token) => null;
    }
}
