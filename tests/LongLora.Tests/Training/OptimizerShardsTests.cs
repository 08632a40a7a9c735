using LongLora.Data;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Moments and sums that are divided among ranks, against whole ones.</summary>
public sealed class OptimizerShardsTests : IDisposable
{
    private const int Block = (int)ParameterBuffer.BlockElements;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static Tensor Numbers(int seed, long count)
    {
        using var generator = new Generator((ulong)seed);
        return randn([count], generator: generator);
    }

    [Theory]
    [InlineData(100, 3, new long[] { 0, 0, 0, 100 })] // fewer blocks than ranks
    [InlineData(3 * Block, 3, new long[] { 0, Block, 2 * Block, 3 * Block })]
    [InlineData(5 * Block + 1, 4, new long[] { 0, Block, 3 * Block, 4 * Block, 5 * Block + 1 })]
    public void Divide_borders_lie_between_blocks(long count, int ranks, long[] expected) =>
        Assert.Equal(expected, OptimizerShards.Divide(count, ranks));

    // Ranks with one block, whose squares libtorch adds in another order where they are alone; with none; with the rest.
    [Theory]
    [InlineData(100)]
    [InlineData(Block)]
    [InlineData(2 * Block)]
    [InlineData(2 * Block + 17)]
    [InlineData(4 * Block + 4095)]
    [InlineData(11 * Block + 1)]
    public void ComputeGradientNorm_of_parts_has_the_bits_of_the_whole(int count)
    {
        double Norm(Func<long, OptimizerShards?> divide)
        {
            using var parameters = new ParameterBuffer([new Weight("w", zeros(count))]);
            var shards = divide(count);
            parameters.Gradients.fill_(Scalars.Of(1e9f)); // what others have is not looked at
            var own = shards is null ? parameters.Gradients : shards.Own(parameters.Gradients);
            own.copy_(shards is null ? Numbers(1, count) : shards.Own(Numbers(1, count)));
            return parameters.ComputeGradientNorm(shards);
        }
        var expected = Norm(_ => null);
        Assert.Equal(Numbers(1, count).to(ScalarType.Float64).norm().item<double>(), expected, 1e-5 * expected);
        foreach (var ranks in new[] { 1, 2, 3, 4, 7 })
            Assert.All(ThreadCommunicator.Run(ranks, c => Norm(n => new OptimizerShards(c, n))), norm => Assert.Equal(expected, norm));
    }

    [Theory]
    [InlineData(2, 1 << 22)]
    [InlineData(3, 1000)] // many pieces
    [InlineData(5, 1)]
    public void Add_of_all_ranks_is_the_sum_of_one(int ranks, int piece)
    {
        const int count = 2 * Block + 77,
            rounds = 2;
        // One element a piece is slow, and there are few ends to get wrong.
        using var whole = new ExactSum(zeros(count));
        for (var i = 0; i < ranks * rounds; i++)
            Assert.True(whole.Add(Numbers(i, count), 100));
        using var expected = zeros(count);
        whole.MoveTo(expected);
        ThreadCommunicator.Run(ranks, c =>
        {
            var shards = new OptimizerShards(c, count);
            using var gradients = zeros(count);
            using var sum = new DividedSum(gradients, shards, piece);
            for (var round = 0; round < rounds; round++)
            {
                gradients.copy_(Numbers(round * ranks + c.Rank, count));
                Assert.True(sum.Add(gradients, 100));
                Assert.Equal(0, gradients.abs().max().item<float>());
            }
            sum.MoveTo(gradients);
            Assert.True(shards.Own(expected).equal(shards.Own(gradients)).all().item<bool>());
            sum.MoveTo(gradients); // begins again
            Assert.Equal(0, shards.Own(gradients).abs().sum().item<float>());
        });
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(100)]
    public void Add_of_a_gradient_that_is_too_large_is_told_by_its_rank_and_keeps_nobody_waiting(float bad)
    {
        var sound = ThreadCommunicator.Run(3, c =>
        {
            using var gradients = ones(3 * Block);
            using var sum = new DividedSum(gradients, new OptimizerShards(c, 3 * Block), 999);
            if (c.Rank == 1)
                gradients[2 * Block + 5] = bad;
            return sum.Add(gradients, 100);
        });
        Assert.Equal([true, false, true], sound);
    }

    private static ParameterBuffer MakeParameters() => new([new Weight("w", Numbers(1, 2 * Block + 300)), new Weight("v", Numbers(2, 5))]);

    private static AdamW MakeOptimizer(ParameterBuffer parameters, ICommunicator? ranks) =>
        new(parameters, new AdamWOptions(), ranks is null ? null : new OptimizerShards(ranks, parameters.Count));

    private static void Fill(AdamW optimizer, int seed, long count)
    {
        Tensor Own(Tensor all) => optimizer.Shards?.Own(all) ?? all;
        optimizer.FirstMoment.copy_(Own(Numbers(seed, count)));
        optimizer.SecondMoment.copy_(Own(Numbers(seed + 1, count).abs()));
    }

    private string SaveWhole()
    {
        using var parameters = MakeParameters();
        using var optimizer = MakeOptimizer(parameters, null);
        Fill(optimizer, 5, parameters.Count);
        optimizer.Steps = 3;
        var folder = Directory.CreateDirectory(_folder["whole"]).FullName;
        new TrainingState(optimizer, parameters, new BatchSamplerState(1, 2, 3)).Save(folder, "options");
        return folder;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Save_writes_the_bytes_of_one_process_and_Restore_gives_each_rank_its_part(int ranks)
    {
        var whole = SaveWhole();
        ThreadCommunicator.Run(ranks, c =>
        {
            using var parameters = MakeParameters();
            using var optimizer = MakeOptimizer(parameters, c);
            var place = optimizer.OnRoot(c, "restoring", () => TrainingState.Restore(whole, optimizer, parameters, "options"));
            TrainingState.Share(c, optimizer, parameters, null);
            Assert.Equal((new BatchSamplerState(1, 2, 3), 3), (place, optimizer.Steps));
            var own = optimizer.Shards!.Own(Numbers(5, parameters.Count));
            Assert.True(own.equal(optimizer.FirstMoment).all().item<bool>());
            var state = new TrainingState(optimizer, parameters, place);
            Assert.Equal(0, state.CountNotFinite());
            optimizer.OnRoot(c, "saving", () =>
            {
                state.Save(Directory.CreateDirectory(_folder["parts"]).FullName, "options");
                return 0;
            });
        });
        const string name = "training_state.safetensors";
        Assert.Equal(File.ReadAllBytes(Path.Combine(whole, name)), File.ReadAllBytes(_folder["parts", name]));
    }

    [Fact]
    public void Save_of_a_moment_that_is_not_finite_on_another_rank_is_refused_and_ends_all()
    {
        var errors = ThreadCommunicator.Run(2, c =>
        {
            using var parameters = MakeParameters();
            using var optimizer = MakeOptimizer(parameters, c);
            if (c.Rank == 1)
                optimizer.SecondMoment[3] = float.NaN;
            var state = new TrainingState(optimizer, parameters, default);
            Assert.Equal(1, state.CountNotFinite());
            return Record.Exception(() => optimizer.OnRoot(c, "saving", () =>
                {
                    state.Save(_folder.Root, "options");
                    return 0;
                }));
        });
        Assert.Contains("not finite", Assert.IsType<DataException>(errors[0]).Message, StringComparison.Ordinal);
        Assert.IsType<FailedElsewhereException>(errors[1]);
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Root));
    }
}
