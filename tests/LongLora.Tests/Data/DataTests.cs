using System.IO.Compression;
using System.Text;
using LongLora.Data;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public class DataTests : IDisposable
{
    private const int Vocabulary = 300;

    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    private string At(string name) => Path.Combine(_folder, name);

    private string WriteFile(string name, string text) => WriteFile(name, Encoding.UTF8.GetBytes(text));

    private string WriteFile(string name, byte[] bytes)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(At(name))!);
        File.WriteAllBytes(At(name), bytes);
        return At(name);
    }

    private static List<TrainingExample> Read(params string[] paths) =>
        [.. ExampleSources.Open(paths, new ByteTokenizer(), Vocabulary).Read()];

    private static string Text(TrainingExample example) =>
        Encoding.UTF8.GetString([.. example.Ids.Where(id => id < 256).Select(id => (byte)id)]);

    [Fact]
    public void Open_folder_reads_every_kind_in_the_order_of_names()
    {
        WriteFile("c/b.jsonl", "{\"text\": \"two\"}\n\n{\"text\": \"three\", \"id\": 7}\n");
        WriteFile("a.txt", "one\r\nline");
        WriteFile("c/a.md", "# head");
        WriteFile("picture.png", [1, 2, 3]);
        using (var file = File.Create(At("z.txt.gz")))
        using (var gzip = new GZipStream(file, CompressionLevel.Fastest))
            gzip.Write("packed"u8);
        WriteFile("empty.txt", "");
        var documents = Read(_folder);
        Assert.Equal(["one\r\nline", "# head", "two", "three", "packed"], documents.Select(Text));
        Assert.Equal(
            [At("a.txt"), At("c/a.md"), At("c/b.jsonl") + ":1", At("c/b.jsonl") + ":3", At("z.txt.gz")],
            documents.Select(d => d.Origin)
        );
        Assert.All(documents, d => Assert.Equal(256, d.Ids[0])); // the tokenizer's own BOS
    }

    [Fact]
    public void Build_puts_separators_between_documents_and_none_into_streams()
    {
        WriteFile("a.txt", "ab");
        WriteFile("b.txt", "c");
        WriteFile("c.bin", [7, 0, 8, 0, 9, 0]);
        using var tokens = TokenStore.Build(
            ExampleSources.Open([At("a.txt"), At("b.txt"), At("c.bin")], new ByteTokenizer(), Vocabulary),
            257
        );
        Assert.Equal([256, 'a', 'b', 257, 256, 'c', 7, 8, 9], All(tokens));
        Assert.Equal([(0, 3), (4, 2), (6, 3)], tokens.Documents.Select(d => (d.Start, d.Length)));
        using var limited = TokenStore.Build(ExampleSources.Open([At("a.txt"), At("b.txt")], new ByteTokenizer(), Vocabulary), 257, 5);
        Assert.Equal([256, 'a', 'b', 257, 256], All(limited));
    }

    [Fact]
    public void Build_stream_longer_than_a_piece_is_one_document()
    {
        var ids = Enumerable.Range(0, 2_500_000).Select(i => (ushort)(i * 31 % 299)).ToArray();
        WriteFile("long.bin", System.Runtime.InteropServices.MemoryMarshal.AsBytes(ids.AsSpan()).ToArray());
        var source = ExampleSources.Open([At("long.bin")], null, Vocabulary);
        var digest = Convert.ToHexStringLower(
            System.Security.Cryptography.SHA256.HashData(
                System.Runtime.InteropServices.MemoryMarshal.AsBytes(Array.ConvertAll(ids, i => (int)i).AsSpan())
            )
        );
        using var tokens = TokenStore.Build(source, 257);
        Assert.Equal(ids.Select(i => (long)i), All(tokens));
        Assert.Equal(digest, tokens.Digest);
        Assert.Equal(2, tokens.BytesPerToken);
        Assert.Equal([(0L, 2_500_000L)], tokens.Documents.Select(d => (d.Start, d.Length)));
    }

    [Fact]
    public void Open_large_vocabulary_reads_32_bit_tokens()
    {
        WriteFile("wide.bin", [1, 0, 1, 0, 2, 0, 0, 0]);
        using var tokens = TokenStore.Build(ExampleSources.Open([At("wide.bin")], null, 100_000), null);
        Assert.Equal([65537, 2], All(tokens));
    }

    public static TheoryData<string, byte[], string[]> BadFiles() =>
        new()
        {
            { "x.jsonl", "{\"text\": \"a\"}\n{\"text\": 5}\n"u8.ToArray(), ["x.jsonl:2", "Number"] },
            { "x.jsonl", "{\"text\": \"a\"}\n{broken\n"u8.ToArray(), ["x.jsonl:2", "JSON"] },
            { "x.jsonl", "[1]\n"u8.ToArray(), ["x.jsonl:1", "Array"] },
            { "x.jsonl", "{\"content\": \"a\", \"id\": 1}\n"u8.ToArray(), ["x.jsonl:1", "content, id"] },
            { "x.txt", [65, 66, 0xff, 67], ["x.txt", "UTF-8"] },
            { "x.txt.gz", [1, 2, 3, 4], ["x.txt.gz"] },
            { "x.bin", [1, 0, 2], ["x.bin", "3 bytes", "uint16"] },
            { "x.bin", [1, 0, 44, 1], ["x.bin", "token 1 is 300", "300 ids"] },
            { "x.docx", [1], ["x.docx", ".txt"] },
        };

    [Theory]
    [MemberData(nameof(BadFiles))]
    public void Read_damaged_file_is_refused_with_place_and_values(string name, byte[] bytes, string[] expected)
    {
        var path = WriteFile(name, bytes);
        var error = Assert.Throws<DataException>(() => Read(path));
        Assert.All(expected, text => Assert.Contains(text, error.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Open_without_tokenizer_or_files_is_refused()
    {
        var text = WriteFile("a.txt", "x");
        Assert.Contains(
            "no tokenizer",
            Assert.Throws<DataException>(() => ExampleSources.Open([text], null, Vocabulary)).Message,
            StringComparison.Ordinal
        );
        Directory.CreateDirectory(At("nothing"));
        Assert.Contains("no readable file", Assert.Throws<DataException>(() => Read(At("nothing"))).Message, StringComparison.Ordinal);
        WriteFile("none.txt", "");
        Assert.Contains(
            "empty",
            Assert
                .Throws<DataException>(() => TokenStore.Build(ExampleSources.Open([At("none.txt")], new ByteTokenizer(), Vocabulary), null))
                .Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Next_each_pass_has_every_sequence_once_and_resumes_anywhere(bool shuffle)
    {
        using var tokens = Numbers(1003);
        BatchSampler New() => new(tokens, 10, 3, 5, shuffle);
        var whole = New();
        Assert.Equal(100, whole.SequenceCount);
        var states = new List<BatchSamplerState>();
        var batches = new List<Batch>();
        for (var i = 0; i < 100; i++)
        {
            states.Add(whole.State);
            batches.Add(whole.Next());
        }
        var sequences = batches.SelectMany(b => b.InputIds.Chunk(10)).ToList();
        foreach (var pass in sequences.Chunk(100))
            Assert.Equal(Enumerable.Range(0, 100).Select(i => i * 10L), pass.Select(s => s[0]).Order());
        Assert.All(sequences, s => Assert.Equal(Enumerable.Range((int)s[0], 10).Select(x => (long)x), s));
        Assert.Equal(!shuffle, sequences.Take(100).Select(s => s[0]).SequenceEqual(sequences.Skip(100).Take(100).Select(s => s[0])));
        for (var i = 0; i < 100; i += 7)
            Assert.Equal(
                batches[i].InputIds,
                new BatchSampler(tokens, 10, 3, 5, shuffle) { State = states[i] }
                    .Next()
                    .InputIds
            );
    }

    [Fact]
    public void Next_order_is_the_same_on_every_machine()
    {
        using var tokens = Numbers(100);
        var sampler = new BatchSampler(tokens, 10, 1, 42);
        // From an independent computation of SplitMix64 and Fisher-Yates.
        Assert.Equal(
            Reference(42, 0, 10).Concat(Reference(42, 1, 10)),
            Enumerable.Range(0, 20).Select(_ => sampler.Next().InputIds[0] / 10)
        );
    }

    [Fact]
    public void Cut_gives_whole_rows_of_each_text_and_leaves_the_rest()
    {
        var batch = new Batch([.. Enumerable.Range(0, 14).Select(i => (long)i)], [.. Enumerable.Range(20, 14).Select(i => (long)i)], 2, 7);
        var cut = batch.Cut(3);
        Assert.Equal((4, 3, 3), (cut.BatchSize, cut.Length, cut.Context));
        Assert.Equal([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12], cut.InputIds);
        Assert.Equal([20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31, 32], cut.Labels!);
        Assert.Same(batch, batch.Cut(7));
    }

    [Fact]
    public void BatchSampler_corpus_shorter_than_the_context_is_refused_with_both_numbers()
    {
        using var tokens = Numbers(9);
        var message = Assert.Throws<DataException>(() => new BatchSampler(tokens, 10, 1, 1)).Message;
        Assert.Contains("9 tokens", message, StringComparison.Ordinal);
        Assert.Contains("10", message, StringComparison.Ordinal);
    }

    private static long[] Reference(long seed, long epoch, int count)
    {
        var order = Enumerable.Range(0, count).Select(i => (long)i).ToArray();
        System.Numerics.BigInteger mask = ulong.MaxValue,
            state =
                (seed * new System.Numerics.BigInteger(0x9E3779B97F4A7C15) + epoch * new System.Numerics.BigInteger(0xD1B54A32D192ED03))
                & mask;
        for (var i = count - 1; i > 0; i--)
        {
            state = (state + 0x9E3779B97F4A7C15) & mask;
            var z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask;
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask;
            z ^= z >> 31;
            var j = (int)((z * (i + 1)) >> 64);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }

    private static TokenStore Numbers(int count) => TokenStore.Build(new Numbered(count), null);

    private static List<long> All(TokenStore tokens)
    {
        var all = new long[tokens.Count];
        tokens.CopyTo(0, all);
        return [.. all];
    }

    public void Dispose()
    {
        Directory.Delete(_folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    private sealed class Numbered(int count) : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            [new([.. Enumerable.Range(0, count)], null, "numbers")];
    }

    // One id a byte; BOS 256.
    private sealed class ByteTokenizer : ITokenizer
    {
        public int VocabularySize => 258;

        public int? BosTokenId => 256;

        public int? EosTokenId => 257;

        public int? PadTokenId => null;

        public IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false)
        {
            var bytes = Encoding.UTF8.GetBytes(text.ToString()).Select(b => (int)b);
            return [.. addSpecial ? bytes.Prepend(256) : bytes];
        }

        public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true) => throw new NotSupportedException();

        public int? FindToken(string token) => null;
    }
}
