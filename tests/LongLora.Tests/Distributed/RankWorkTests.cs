using LongLora.Data;
using LongLora.Distributed;

namespace LongLora.Tests.Distributed;

public class RankWorkTests
{
    [Fact]
    public void OnRoot_one_rank_works_and_all_get_its_result()
    {
        var calls = 0;
        var results = ThreadCommunicator.Run(3, c => c.OnRoot("counting", () =>
            {
                Interlocked.Increment(ref calls);
                return "é";
            }));
        Assert.Equal(1, calls);
        Assert.Equal(["é", "é", "é"], results);
        // What a run asks for: where to go on, or nowhere.
        var place = new BatchSamplerState(1, 2, 3);
        Assert.Equal([place, place], ThreadCommunicator.Run(2, c => c.OnRoot("restoring", BatchSamplerState? () => place)!.Value));
        Assert.Equal([null, null], ThreadCommunicator.Run(2, c => c.OnRoot("restoring", BatchSamplerState? () => null)));
        Assert.Equal([null, null], ThreadCommunicator.Run(2, c => c.OnRoot("finding", string? () => null)));
    }

    [Fact]
    public void OnRoot_a_failure_is_thrown_there_and_silently_elsewhere()
    {
        var errors = ThreadCommunicator.Run(3, c =>
            Record.Exception(() => c.OnRoot("failing", () => throw new InvalidDataException("the disk is full")))
        );
        Assert.Equal("the disk is full", Assert.IsType<InvalidDataException>(errors[0]).Message);
        Assert.IsType<FailedElsewhereException>(errors[1]);
        Assert.IsType<FailedElsewhereException>(errors[2]);
    }

    [Fact]
    public void OnRoot_a_canceled_rank_cancels_all()
    {
        var errors = ThreadCommunicator.Run(2, c =>
            Record.Exception(() => c.OnRoot("reading", () => throw new OperationCanceledException()))
        );
        Assert.All(errors, e => Assert.IsType<OperationCanceledException>(e));
    }

    [Fact]
    public void OnEachMachine_the_first_rank_of_a_machine_works_and_a_failure_reaches_all()
    {
        var calls = 0;
        ThreadCommunicator.Run(3, c => c.OnEachMachine("reading", () => Interlocked.Increment(ref calls)));
        Assert.Equal(1, calls); // threads are on one machine
        var errors = ThreadCommunicator.Run(2, c =>
            Record.Exception(() => c.OnEachMachine("reading", () => throw new InvalidDataException("bad")))
        );
        Assert.IsType<InvalidDataException>(errors[0]);
        Assert.IsType<FailedElsewhereException>(errors[1]);
    }

    [Fact]
    public void OnAll_nobody_goes_on_before_all_are_done()
    {
        var done = 0;
        ThreadCommunicator.Run(3, c =>
        {
            c.OnAll("working", () =>
            {
                Thread.Sleep(50 * c.Rank);
                Interlocked.Increment(ref done);
            });
            Assert.Equal(3, Volatile.Read(ref done));
        });
    }

    [Fact]
    public void Texts_of_any_length_come_whole()
    {
        ThreadCommunicator.Run(3, c =>
        {
            Assert.Equal(
                ["", "é1", new string('x', 2000)],
                c.GatherTexts(
                    c.Rank == 0 ? ""
                    : c.Rank == 1 ? "é1"
                    : new string('x', 2000)
                )
            );
            Assert.Equal("of rank 0", c.BroadcastText($"of rank {c.Rank}"));
            Assert.Equal("", c.BroadcastText(c.Rank == 0 ? "" : "x"));
        });
    }
}
