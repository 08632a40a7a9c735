using LongLora.Layers;
using LongLora.Training;

namespace LongLora.Tests.Layers;

/// <summary>Which blocks ranks gather in a pass, and that one is never overwritten while it is in use.</summary>
public class GatherSlotsTests
{
    [Theory]
    [InlineData(1, 1, 0)]
    [InlineData(2, 1, 0)]
    [InlineData(3, 1, 2)]
    [InlineData(32, 1, 60)]
    [InlineData(4, 2, 4)] // 0 1 2 3, 2 3 3 2, 0 1 1 0
    [InlineData(5, 5, 11)] // 0 1 2 3 4, 0 1 2 3 4, 4 3 2 1 0
    public void ListMissing_blocks_at_both_ends_of_a_pass_stay(int blocks, int perSegment, int expected) =>
        Assert.Equal(expected, GatherSlots.ListMissing(CheckpointedPass.ListVisits(blocks, perSegment)).Count);

    [Fact]
    public void ListVisits_spans_run_forward_again_before_they_run_backward() =>
        Assert.Equal([0, 1, 2, 3, 4, 4, 4, 2, 3, 3, 2, 0, 1, 1, 0], CheckpointedPass.ListVisits(5, 2));

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Prepare_never_takes_the_place_of_the_present_block(int perSegment)
    {
        var (slots, held) = (new GatherSlots(), new int?[2]);
        var visits = CheckpointedPass.ListVisits(7, perSegment);
        var gathered = 0;
        for (var pass = 0; pass < 2; pass++)
        {
            gathered = 0;
            for (var at = 0; at < visits.Count; at++)
            {
                var (slot, isMissing) = slots.Enter(visits[at]);
                if (isMissing)
                    (held[slot], gathered) = (visits[at], gathered + 1);
                if (visits.Skip(at).FirstOrDefault(v => v != visits[at], -1) is var next and >= 0 && slots.Prepare(next) is { } other)
                {
                    Assert.NotEqual(slot, other);
                    (held[other], gathered) = (next, gathered + 1);
                }
                Assert.Equal(visits[at], held[slot]);
            }
        }
        Assert.Equal(GatherSlots.ListMissing(visits).Count, gathered);
    }
}
