using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

public sealed class ThreadTeamTests
{
    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 1)]
    [InlineData(7, 1)]
    [InlineData(1000, 1)]
    [InlineData(1000, 300)]
    [InlineData(1000, 5000)]
    public void Run_visits_each_number_once(int count, int grain)
    {
        var visits = new int[count];
        ThreadTeam.Run(count, grain, (first, size) =>
        {
            for (var i = first; i < first + size; i++)
                Interlocked.Increment(ref visits[i]);
        });
        Assert.All(visits, v => Assert.Equal(1, v));
    }

    [Fact]
    public void Run_passes_on_an_exception_of_any_thread()
    {
        var thrown = Assert.Throws<InvalidOperationException>(() => ThreadTeam.Run(100, 1, (first, size) =>
            {
                if (first + size == 100)
                    throw new InvalidOperationException("the last piece");
            }));
        Assert.Equal("the last piece", thrown.Message);
        var sum = 0L;
        ThreadTeam.Run(100, 1, (first, size) => Interlocked.Add(ref sum, size));
        Assert.Equal(100, sum);
    }

    [Fact]
    public void Run_works_on_several_threads_at_once_and_under_garbage_collection()
    {
        Parallel.For(0, 50, _ =>
        {
            var sum = 0L;
            ThreadTeam.Run(64, 1, (first, size) =>
            {
                GC.KeepAlive(new byte[100_000]);
                Interlocked.Add(ref sum, size);
            });
            Assert.Equal(64, sum);
        });
    }
}
