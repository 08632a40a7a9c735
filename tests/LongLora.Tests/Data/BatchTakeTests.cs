using LongLora.Data;

namespace LongLora.Tests.Data;

public class BatchTakeTests
{
    private static TokenStore Store() => TokenStore.Build(new Examples(), null);

    [Theory]
    [InlineData(BatchLayout.Stream)]
    [InlineData(BatchLayout.Documents)]
    [InlineData(BatchLayout.Examples)]
    public void Take_gives_the_batches_of_next_and_leaves_the_same_place(BatchLayout layout)
    {
        using var tokens = Store();
        BatchSampler Make() => new(tokens, 24, 2, 5, layout: layout);
        var (one, all) = (Make(), Make());
        var samplers = Enumerable.Range(0, 3).Select(_ => Make()).ToList();
        for (var step = 0; step < 5; step++)
        {
            var expected = Enumerable.Range(0, 4).Select(_ => one.Next()).ToList();
            Assert.Equal(expected.Select(b => b.InputIds), all.Take(4, _ => true).Select(b => b.Batch.InputIds));
            for (var rank = 0; rank < 3; rank++)
            {
                foreach (var (number, batch) in samplers[rank].Take(4, m => m % 3 == rank))
                {
                    Assert.Equal(rank, number % 3);
                    Assert.Equal(expected[number].InputIds, batch.InputIds);
                    Assert.Equal(expected[number].Labels, batch.Labels);
                    expected[number] = expected[number] with { Length = -1 }; // dealt out
                }
                Assert.Equal(one.State, samplers[rank].State);
            }
            Assert.All(expected, b => Assert.Equal(-1, b.Length));
        }
    }

    private sealed class Examples : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            Enumerable
                .Range(0, 40)
                .Select(d =>
                {
                    int[] ids = [.. Enumerable.Range(0, 5 + d % 17).Select(i => (d * 7919 + i * i * 31 + i) % 128)];
                    return new TrainingExample(ids, ids, $"document {d}");
                });
    }
}
