using LongLora.Distributed;

namespace LongLora.Tests.Distributed;

public class SingleProcessTests : CommunicatorContract
{
    protected override IReadOnlyList<int> Sizes => [1];

    private protected override void Run(int size, string check) => CommunicatorChecks.All[check](SingleProcess.Instance);
}
