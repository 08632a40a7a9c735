using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>The binding of NCCL over functions in C# that do nothing before they are waited for.</summary>
public class NcclCommunicatorTests : CommunicatorContract
{
    protected override IReadOnlyList<int> Sizes => [1, 2, 3, 4];

    private protected override void Run(int size, string check) => ThreadCommunicator.Run(size, host =>
        {
            using var ranks = StandInNccl.Open(host);
            CommunicatorChecks.All[check](ranks);
        });

    /// <summary>The checks that see data of other ranks.</summary>
    public static TheoryData<string> ChecksOfData =>
        [
            .. CommunicatorChecks.All.Keys.Except([
                // Where nothing happens all have their own bits, and what is refused is never begun.
                "AllReduce_gives_all_ranks_the_same_bits",
                "Calls_that_cannot_be_right_are_refused",
            ]),
        ];

    [Theory]
    [MemberData(nameof(ChecksOfData))]
    public void A_missing_wait_is_seen_by_the_contract(string check) =>
        // Mostly by an assertion; a rank that ends with it may take tensors away from one that still meets it.
        Assert.ThrowsAny<Exception>(() => ThreadCommunicator.Run(3, host =>
            {
                using var ranks = new ForgetfulCommunicator(StandInNccl.Open(host));
                CommunicatorChecks.All[check](ranks);
            }));

    [Fact]
    public void Wait_for_a_rank_that_never_comes_ends_and_names_the_operation()
    {
        var error = Assert.Throws<CommunicationException>(() => ThreadCommunicator.Run(2, host =>
            {
                using var ranks = StandInNccl.Open(host, TimeSpan.FromSeconds(0.2));
                Assert.Equal(22809, ranks.Version);
                using var tensor = zeros(4);
                if (ranks.Rank == 1)
                    ranks.AllReduce(tensor, Reduction.Sum).Wait();
            }));
        Assert.StartsWith("rank 1 (", error.Message, StringComparison.Ordinal);
        Assert.Contains("all-reduce (Sum), operation 0, of 16 bytes has not ended after 0.2 s", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_of_a_library_that_is_not_there_is_refused_by_name()
    {
        var error = Assert.Throws<ConfigurationException>(() => NcclApi.Load("/nowhere/libnccl.so.2"));
        Assert.Contains("LONGLORA_NCCL is '/nowhere/libnccl.so.2', but NCCL is not there", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Explain_gives_the_words_of_the_library() => Assert.Equal("an error of the stand-in (3)", StandInNccl.Api.Explain(3, 0));
}
