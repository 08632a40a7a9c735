using LongLora.Data;
using LongLora.Runs;
using LongLora.Runtime;
using static LongLora.Tests.Data.TokenStoreTests;

namespace LongLora.Tests.Data;

public sealed class BatchLayoutTests
{
    // Example i has the ids 100 i, 100 i + 1, ... and learns all but the first.
    private static TokenStore Examples(params int[] lengths) =>
        TokenStore.Build(new Memory([.. lengths.Select((n, i) => Answer($"e:{i + 1}", 1, [.. Enumerable.Range(100 * i, n)]))]), null);

    [Fact]
    public void Examples_each_pass_has_every_example_once_whole_and_resumes_anywhere()
    {
        int[] lengths = [3, 7, 1, 10, 4, 4, 6, 2, 9, 5, 8, 3, 3];
        using var tokens = Examples(lengths);
        BatchSampler New() => new(tokens, 10, 2, 5, layout: BatchLayout.Examples);
        var sampler = New();
        var seen = new List<long>();
        for (var i = 0; i < 40; i++)
        {
            var state = sampler.State;
            var batch = sampler.Next();
            var again = new BatchSampler(tokens, 10, 2, 5, layout: BatchLayout.Examples) { State = state }.Next();
            Assert.Equal(batch.InputIds, again.InputIds);
            Assert.Equal(batch.Labels, again.Labels);
            Assert.InRange(batch.Length, 1, 20);
            Assert.Equal((1, 10, batch.InputIds.Length), (batch.BatchSize, batch.Context, batch.Length));
            var documents = Assert.Single(batch.DocumentLengths!);
            var at = 0;
            foreach (var length in documents)
            {
                var first = batch.InputIds[at];
                Assert.Equal(lengths[first / 100], length);
                Assert.Equal(Enumerable.Range((int)first, length).Select(x => (long)x), batch.InputIds[at..(at + length)]);
                Assert.Equal(TrainingExample.IgnoredLabel, batch.Labels![at]);
                Assert.Equal(batch.InputIds[(at + 1)..(at + length)], batch.Labels[(at + 1)..(at + length)]);
                seen.Add(first / 100);
                at += length;
            }
            Assert.Equal(batch.Length, at);
        }
        var passes = seen.Chunk(lengths.Length).Where(p => p.Length == lengths.Length).ToList();
        Assert.All(passes, pass => Assert.Equal(Enumerable.Range(0, lengths.Length).Select(i => (long)i), pass.Order()));
        Assert.NotEqual(passes[0], passes[1]);
    }

    [Fact]
    public void Examples_row_is_filled_until_the_next_example_does_not_fit()
    {
        using var tokens = Examples(4, 4, 4, 10, 1);
        var sampler = new BatchSampler(tokens, 10, 1, 5, shuffle: false, layout: BatchLayout.Examples);
        Assert.Equal([8, 4, 10, 9, 4], Enumerable.Range(0, 5).Select(_ => sampler.Next().Length));
    }

    [Fact]
    public void Examples_longer_than_a_row_are_refused_with_their_place()
    {
        using var tokens = Examples(4, 11);
        Assert.Contains(
            "e:2: the example has 11 tokens, but a row holds 10",
            Assert.Throws<DataException>(() => new BatchSampler(tokens, 10, 1, 5, layout: BatchLayout.Examples)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Documents_are_cut_like_a_stream_and_their_lengths_are_told()
    {
        // 0..3 sep | 5..6 sep | 8..12 sep | 14..19
        using var tokens = TokenStore.Build(
            new Memory(Example("a", 0, 1, 2, 3), Example("b", 5, 6), Example("c", 8, 9, 10, 11, 12), Example("d", 14, 15, 16, 17, 18, 19)),
            99
        );
        var stream = new BatchSampler(tokens, 6, 1, 5, shuffle: false);
        var apart = new BatchSampler(tokens, 6, 1, 5, shuffle: false, layout: BatchLayout.Documents);
        foreach (var expected in new[] { new[] { 5, 1 }, [2, 4], [2, 4] })
        {
            var batch = apart.Next();
            Assert.Equal(stream.Next().InputIds, batch.InputIds);
            Assert.Equal(expected, Assert.Single(batch.DocumentLengths!));
        }
    }

    [Fact]
    public void Weights_say_how_often_each_corpus_is_seen_in_a_pass()
    {
        TokenStore Two() =>
            TokenStore.Build(
                [new Memory(Example("a", [.. Enumerable.Range(0, 50)])), new Memory(Example("b", [.. Enumerable.Range(1000, 70)]))],
                null
            );
        using var tokens = Two();
        BatchSampler New() => new(tokens, 10, 1, 5, weights: [2, 0.5]);
        var sampler = New();
        // Two passes: everything in a four times; of the 7 sequences of b, 4 in the first pass and the other 3 in the second (7 halves,
        // rounded to even).
        List<long> Pass(int count) => [.. Enumerable.Range(0, count).Select(_ => sampler.Next().InputIds[0])];
        Assert.Equal(10 + 4, sampler.SequenceCount);
        List<long> first = Pass(14),
            second = Pass(13);
        foreach (var pass in new[] { first, second })
            Assert.Equal(Enumerable.Range(0, 5).SelectMany(i => new[] { 10L * i, 10L * i }), pass.Where(x => x < 1000).Order());
        Assert.Equal(Enumerable.Range(0, 7).Select(i => 1000 + 10L * i), first.Concat(second).Where(x => x >= 1000).Order());
        Assert.NotEqual(Enumerable.Range(0, 4).Select(i => 1000 + 10L * i), first.Where(x => x >= 1000).Order());
        var all = first.Concat(second).ToList();
        var resumed = New();
        resumed.State = new BatchSamplerState(1, 3);
        Assert.Equal(all[17], resumed.Next().InputIds[0]);
    }

    [Fact]
    public void Weights_of_one_leave_the_order_as_it_is()
    {
        using var tokens = TokenStore.Build(
            [new Memory(Example("a", [.. Enumerable.Range(0, 55)])), new Memory(Example("b", [.. Enumerable.Range(1000, 70)]))],
            null
        );
        var plain = new BatchSampler(tokens, 10, 1, 5);
        var weighted = new BatchSampler(tokens, 10, 1, 5, weights: [1, 1]);
        for (var i = 0; i < 30; i++)
            Assert.Equal(plain.Next().InputIds, weighted.Next().InputIds);
    }

    [Fact]
    public void Weights_refuse_data_that_is_shorter_than_one_sequence()
    {
        using var tokens = TokenStore.Build(
            [new Memory(Example("long.txt", [.. Enumerable.Range(0, 55)])), new Memory(Example("short.txt", [1, 2, 3]))],
            null
        );
        foreach (var layout in new[] { BatchLayout.Stream, BatchLayout.Documents })
        {
            var message = Assert.Throws<DataException>(() => new BatchSampler(tokens, 10, 1, 5, layout: layout, weights: [1, 8])).Message;
            Assert.Contains("'short.txt' has 3 tokens, fewer than one sequence of 10", message, StringComparison.Ordinal);
        }
        Assert.Equal(5, new BatchSampler(tokens, 10, 1, 5, weights: [1, 1]).SequenceCount);
        // Examples are whole, so the length of a source does not matter.
        Assert.Equal(9, new BatchSampler(tokens, 60, 1, 5, layout: BatchLayout.Examples, weights: [1, 8]).SequenceCount);
    }

    [Fact]
    public void UnreadTokens_are_those_that_no_pass_reads()
    {
        using var tokens = TokenStore.Build(
            [new Memory(Example("a", [.. Enumerable.Range(0, 57)])), new Memory(Example("b", [.. Enumerable.Range(1000, 75)]))],
            null
        );
        foreach (var (weights, unread) in new (double[]?, long)[] { (null, 2), ([2, 1], 12) })
        {
            var sampler = new BatchSampler(tokens, 10, 1, 5, weights: weights);
            var seen = new HashSet<long>();
            for (var i = 0; i < 3 * sampler.SequenceCount; i++)
                seen.UnionWith(sampler.Next().InputIds);
            Assert.Equal((unread, tokens.Count - seen.Count), (sampler.UnreadTokens, unread));
            Assert.Equal(3, sampler.Passes);
            sampler.Next();
            Assert.Equal(3 + 1.0 / sampler.SequenceCount, sampler.Passes, 1e-9);
            Assert.Equal(unread > tokens.Count / 100, TrainingData.NotesOn(sampler, tokens).Any());
        }
    }
}
