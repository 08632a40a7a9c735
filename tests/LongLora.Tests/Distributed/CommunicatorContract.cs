namespace LongLora.Tests.Distributed;

/// <summary>The contract of communicators, for each implementation and several numbers of ranks.</summary>
public abstract class CommunicatorContract
{
    /// <summary>Names of all checks.</summary>
    public static TheoryData<string> Checks => [.. CommunicatorChecks.All.Keys];

    /// <summary>Numbers of ranks that the implementation can have.</summary>
    protected abstract IReadOnlyList<int> Sizes { get; }

    /// <summary>Runs a check as every rank of a new job, and throws what a rank threw.</summary>
    private protected abstract void Run(int size, string check);

    [Theory]
    [MemberData(nameof(Checks))]
    public void Communicator_keeps_the_contract(string check)
    {
        foreach (var size in Sizes)
            Run(size, check);
    }
}
