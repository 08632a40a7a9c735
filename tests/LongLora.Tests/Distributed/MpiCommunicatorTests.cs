namespace LongLora.Tests.Distributed;

/// <summary>The contract for ranks that are processes, under both MPIs.</summary>
public class MpiCommunicatorTests
{
    public static TheoryData<string, int> Jobs =>
        new(MpiJob.Launchers.SelectMany(launcher => new[] { 2, 3 }.Select(size => (launcher, size))));

    [Theory]
    [MemberData(nameof(Jobs))]
    public void Communicator_keeps_the_contract(string launcher, int size)
    {
        // Also where one call of MPI takes little, and where a tensor is many calls.
        var job = RankProcess.Start(launcher, size, size == 2 ? RankProcess.Contract : RankProcess.Contract + " 4096");
        Assert.True(job.Code == 0, job.ToString());
        foreach (var check in CommunicatorChecks.All.Keys)
            Assert.Contains($"{check}: {size} ranks", job.Output, StringComparison.Ordinal);
    }
}
