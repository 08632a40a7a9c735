using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

public class ThreadCommunicatorTests : CommunicatorContract
{
    protected override IReadOnlyList<int> Sizes => [1, 2, 3, 4, 8];

    private protected override void Run(int size, string check) => ThreadCommunicator.Run(size, CommunicatorChecks.All[check]);

    [Fact]
    public void Run_calls_that_differ_are_refused_on_all_ranks()
    {
        var error = Assert.Throws<CommunicationException>(() =>
            ThreadCommunicator.Run(2, c => c.AllReduce(zeros(3 + c.Rank), Reduction.Sum).Wait())
        );
        Assert.Contains("operation 0 is all-reduce (Sum) of Float32", error.Message, StringComparison.Ordinal);
        Assert.Throws<CommunicationException>(() =>
            ThreadCommunicator.Run(2, c => (c.Rank == 0 ? c.AllReduce(zeros(3), Reduction.Sum) : c.Broadcast(zeros(3), 0)).Wait())
        );
        Assert.Throws<CommunicationException>(() =>
            ThreadCommunicator.Run(2, c => c.Exchange(c.Rank == 0 ? [(1, zeros(3))] : [], c.Rank == 1 ? [(0, zeros(4))] : []).Wait())
        );
    }

    [Fact]
    public void Run_a_rank_that_does_not_come_is_named()
    {
        var error = Assert.Throws<CommunicationException>(() =>
            ThreadCommunicator.Run(
                3,
                c =>
                {
                    if (c.Rank != 1)
                        c.AllReduce(zeros(3), Reduction.Sum).Wait();
                },
                TimeSpan.FromSeconds(0.3)
            )
        );
        Assert.Contains("waits for rank 1 for more than 0.3 s", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_a_rank_that_fails_ends_the_others_and_its_error_is_thrown()
    {
        var error = Assert.Throws<InvalidDataException>(() => ThreadCommunicator.Run(3, c =>
            {
                if (c.Rank == 2)
                    throw new InvalidDataException("a bad file on this rank only");
                using var group = c.Rank < 2 ? c.Split(0, 0) : c;
            }));
        Assert.Equal("a bad file on this rank only", error.Message);
    }

    [Fact]
    public void Abort_ends_all_ranks_with_its_reason()
    {
        var error = Assert.Throws<CommunicationException>(() => ThreadCommunicator.Run(2, c =>
            {
                if (c.Rank == 1)
                    c.Abort(3, "the disk is full.");
                c.AllReduce(zeros(1), Reduction.Sum).Wait();
            }));
        Assert.EndsWith("the disk is full.", error.Message, StringComparison.Ordinal);
        Assert.StartsWith("rank 1 (", error.Message, StringComparison.Ordinal);
    }
}
