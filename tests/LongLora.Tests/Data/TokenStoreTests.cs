using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Tests.Data;

public sealed class TokenStoreTests
{
    private const int No = TrainingExample.IgnoredLabel;

    internal static TrainingExample Example(string origin, params int[] ids) => new(ids, null, origin);

    internal static TrainingExample Answer(string origin, int questionTokens, params int[] ids) =>
        new(ids, [.. ids.Select((id, i) => i < questionTokens ? No : id)], origin);

    internal static long[] Labels(TokenStore tokens, long start, int count)
    {
        var labels = new long[count];
        tokens.CopyLabels(start, labels);
        return labels;
    }

    [Fact]
    public void Use_after_Dispose_is_refused_and_Dispose_may_come_twice()
    {
        var store = TokenStore.Build(new Memory(new TrainingExample([1, 2, 3], null, "a")), null);
        store.Dispose();
        store.Dispose();
        Assert.Throws<ObjectDisposedException>(() => store.CopyTo(0, new long[1]));
        Assert.Throws<ObjectDisposedException>(() => store.CopyLabels(0, new long[1]));
        Assert.Throws<ObjectDisposedException>(() => store.FindDocument(0));
    }

    [Fact]
    public void CopyLabels_has_the_answers_and_nothing_else()
    {
        using var tokens = TokenStore.Build(new Memory(Answer("a", 2, 1, 2, 3, 4), Answer("b", 1, 5, 6), Example("c", 7, 8)), null);
        long[] expected = [No, No, 3, 4, No, 6, 7, 8];
        Assert.True(tokens.HasLabels);
        for (var start = 0; start <= expected.Length; start++)
        {
            for (var end = start; end <= expected.Length; end++)
                Assert.Equal(expected[start..end], Labels(tokens, start, end - start));
        }
    }

    [Fact]
    public void Build_large_id_late_in_the_corpus_widens_what_is_written_already()
    {
        int[] small = [.. Enumerable.Range(0, 600_000).Select(i => i % 65_536)];
        int[] all = [.. small, 70_000, 3];
        using var tokens = TokenStore.Build(new Memory(Example("a", small), Example("b", 70_000, 3)), null);
        Assert.Equal(4, tokens.BytesPerToken);
        var read = new long[all.Length];
        tokens.CopyTo(0, read);
        Assert.Equal(all.Select(i => (long)i), read);
    }

    [Fact]
    public void Build_several_sources_keeps_where_each_lies()
    {
        using var tokens = TokenStore.Build(
            [new Memory(Example("a:3", 1, 2), Example("a:7", 3)), new Memory(), new Memory(Example("b", 4, 5))],
            9
        );
        Assert.Equal([new StoredCorpus(0, 2, 0, 4), new StoredCorpus(2, 1, 5, 2)], tokens.Corpora);
        Assert.Equal([new StoredDocument(0, 2, "a:3"), new StoredDocument(3, 1, "a:7"), new StoredDocument(5, 2, "b")], tokens.Documents);
        Assert.Equal([0, 0, 0, 1, 1, 2, 2], Enumerable.Range(0, 7).Select(i => tokens.FindDocument(i)));
    }

    [Fact]
    public void Digest_tells_other_labels_and_other_documents_apart()
    {
        using var whole = TokenStore.Build(new Memory(Answer("a", 1, 1, 2, 3)), null);
        using var other = TokenStore.Build(new Memory(Answer("a", 2, 1, 2, 3)), null);
        using var divided = TokenStore.Build(new Memory(Answer("a", 1, 1, 2), Example("b", 3)), null);
        Assert.NotEqual(whole.Digest, other.Digest);
        Assert.Equal(whole.Digest, divided.Digest);
        Assert.NotEqual(whole.LayoutDigest, divided.LayoutDigest);
    }

    [Fact]
    public void Build_with_a_cache_reads_the_data_once_and_again_when_something_changed()
    {
        using var folder = new TemporaryFolder();
        var source = new Memory(Answer("a", 1, 1, 70_000), Example("b:2", 3));
        TokenStore Build(string part) => TokenStore.Build([source], null, null, new TokenCache(folder["cache"], ["v", part]));
        using (var first = Build("x"))
        using (var second = Build("x"))
        {
            Assert.Equal(1, source.Readings);
            Assert.Equal(first.Documents, second.Documents);
            Assert.Equal(first.Digest, second.Digest);
            Assert.Equal([No, 70_000, 3], Labels(second, 0, 3));
        }
        Build("y").Dispose();
        Assert.Equal(2, source.Readings);
        var kept = Directory.GetFiles(folder["cache"], "*.tokens").Order().First();
        File.WriteAllBytes(kept, File.ReadAllBytes(kept)[..^1]);
        Build("x").Dispose();
        Build("y").Dispose();
        Assert.Equal(3, source.Readings);
        Assert.Equal(2, Directory.GetFileSystemEntries(folder["cache"]).Length);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(70_000)]
    public void Build_on_a_damaged_cache_makes_it_again(int large)
    {
        using var folder = new TemporaryFolder();
        int[] ids = [.. Enumerable.Range(1, 3000).Select(i => i * i % 500), large];
        var source = new Memory(Answer("a", 1000, ids), Example("b:2", 3), Answer("c", 1, 5, 6, 7));
        var told = new List<string>();
        var cache = new TokenCache(folder["cache"], ["v"]);
        TokenStore Build() => TokenStore.Build([source], null, null, cache, null, told.Add);
        (string, string, List<StoredDocument>, long[]) Read(TokenStore tokens) =>
            (tokens.Digest, tokens.LayoutDigest, [.. tokens.Documents], Labels(tokens, 0, (int)tokens.Count));
        using var first = Build();
        var (expected, damages) = (Read(first), new Damages(3));
        for (var i = 1; i <= 200; i++)
        {
            damages.Apply(cache.FilePath); // the cache repairs itself
            using var again = Build();
            Assert.Equivalent(expected, Read(again), strict: true);
            // Only the padding between the parts may be damaged without harm.
            Assert.True(told.Count > 0 || IsPadding(damages.Last, ids.Length + 4), damages.Last);
            told.Clear();
        }

        bool IsPadding(string damage, int count) =>
            damage.Contains("byte ", StringComparison.Ordinal)
            && int.Parse(damage[(damage.LastIndexOf(' ') + 1)..]) / first.BytesPerToken >= count;
    }

    [Fact]
    public void Build_on_a_cache_with_ids_beyond_the_vocabulary_names_file_and_position()
    {
        using var folder = new TemporaryFolder();
        var source = new Memory(Example("a", 1, 2, 70_000));
        TokenCache Cache(int? size) => new(folder["cache"], ["v"]) { VocabularySize = size };
        TokenStore.Build([source], null, null, Cache(70_001)).Dispose();
        TokenStore.Build([source], null, null, Cache(70_001)).Dispose();
        Assert.Equal(1, source.Readings);
        var error = Assert.Throws<DataException>(() => TokenStore.Build([source], null, null, Cache(70_000)));
        Assert.Contains($"'{Cache(null).FilePath}': token 2 is 70000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Build_label_that_is_another_id_is_refused() =>
        Assert.Contains(
            "label of token 1 is 7",
            Assert.Throws<ShapeException>(() => TokenStore.Build(new Memory(new TrainingExample([1, 2], [1, 7], "a")), null)).Message,
            StringComparison.Ordinal
        );

    internal sealed class Memory(params TrainingExample[] examples) : IExampleSource
    {
        internal int Readings { get; private set; }

        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default)
        {
            Readings++;
            return examples;
        }
    }
}
