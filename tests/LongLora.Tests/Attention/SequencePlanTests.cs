using LongLora.Attention;

namespace LongLora.Tests.Attention;

public class SequencePlanTests
{
    private static readonly int[] s_packed = [700, 9, 800, 539];

    [Fact]
    public void Make_groups_that_divide_gives_equal_shares()
    {
        var plan = SequencePlan.Make(
            new ShiftedSparseAttention(256),
            [
                [1024],
            ],
            4
        );
        Assert.Equal([0, 256, 512, 768, 1024], plan.Borders);
        // Each border is the start of a lower group and divides an upper one in the middle.
        foreach (var rank in new[] { 1, 2, 3 })
            Assert.Equal([new DividedGroup(true, 128, 128, new(0, 256, 1), (4 - rank) / 4.0)], plan.FindDivided(rank));
    }

    [Fact]
    public void Make_half_a_group_a_rank_divides_groups_of_both_halves()
    {
        var plan = SequencePlan.Make(
            new ShiftedSparseAttention(256),
            [
                [1024],
            ],
            8
        );
        Assert.Equal(Enumerable.Range(0, 9).Select(i => i * 128), plan.Borders);
        Assert.Equal([false, true, false], new[] { 1, 2, 3 }.Select(rank => Assert.Single(plan.FindDivided(rank)).IsUpper));
        Assert.Equal(8, plan.Busy);
        Assert.Equal(
            7,
            SequencePlan
                .Make(
                    new ShiftedSparseAttention(256),
                    [
                        [1024 - 128],
                    ],
                    8
                )
                .Busy
        );
    }

    public static TheoryData<string, int, int, string, int> Texts()
    {
        var data = new TheoryData<string, int, int, string, int>();
        foreach (var kind in new[] { "shifted-sparse", "grouped", "dilated", "full" })
        {
            foreach (
                var (rows, group) in new[]
                {
                    ("1024", 128),
                    ("1000", 128),
                    ("3000", 700),
                    ("700,9,800,539", 256),
                    ("5", 2),
                    ("60,1,1,40/300/102", 16),
                }
            )
            {
                foreach (var ranks in new[] { 1, 2, 3, 5, 8, 13 })
                    data.Add(kind, group, ranks, rows, 0);
            }
        }
        return data;
    }

    // Against every token and both halves, one by one: each (token, half) is in one group of one rank, or in a divided group of two
    // neighbors, and that is its group in the whole text.
    [Theory]
    [MemberData(nameof(Texts))]
    public void Parts_compute_every_group_of_the_text_once(string kind, int group, int ranks, string rows, int halves)
    {
        _ = halves;
        var attention = AttentionTests.Create(kind, group);
        IReadOnlyList<IReadOnlyList<int>> documents = [.. rows.Split('/').Select(row => row.Split(',').Select(int.Parse).ToArray())];
        var plan = SequencePlan.Make(attention, documents, ranks);
        Assert.Equal(0, plan.Borders[0]);
        Assert.Equal(documents.Sum(d => d.Sum()), plan.Borders[ranks]);
        Assert.Equal(plan.Borders.Order(), plan.Borders);
        Assert.True(plan.Borders[1] > 0, "the first rank has nothing");

        var expected = plan.Rows.SelectMany(row => List(row, 0)).ToHashSet();
        var found = new List<(bool, int, int, bool)>();
        for (var rank = 0; rank < ranks; rank++)
        {
            var part = plan.GetPart(rank);
            found.AddRange(part.Groups.SelectMany(row => List(row, part.Start)));
            foreach (var cut in part.First)
            {
                Assert.Equal(cut.Left + cut.Right, cut.Groups.End);
                Assert.Contains(cut, plan.GetPart(rank - 1).Last);
                Assert.InRange(cut.Right, 1, part.Length);
                Assert.InRange(cut.Left, 1, plan.GetPart(rank - 1).Length);
                found.AddRange(List(cut.Pattern, part.Start - cut.Left));
            }
        }
        Assert.Equal(expected.Count, found.Count);
        Assert.Equal(expected, found.ToHashSet());
    }

    private static IEnumerable<(bool IsUpper, int Start, int Length, bool Interleaved)> List(AttentionPattern pattern, int from)
    {
        foreach (var (isUpper, all) in new[] { (false, pattern.Lower), (true, pattern.Upper) })
        {
            foreach (var groups in all)
            {
                foreach (var start in groups.Starts)
                    yield return (
                        isUpper,
                        from + start,
                        groups.Interleaved ? groups.End - groups.Start : groups.Length,
                        groups.Interleaved
                    );
            }
        }
    }

    [Fact]
    public void Make_packed_documents_puts_borders_at_starts_of_groups_nearest_to_equal_shares()
    {
        var plan = SequencePlan.Make(new ShiftedSparseAttention(256), [s_packed], 4);
        int[] starts =
        [
            .. new[] { 0, 700, 709, 1509 }
                .Zip(s_packed, (start, length) => Enumerable.Range(0, length > 256 ? (length + 127) / 128 : 1).Select(i => start + 128 * i))
                .SelectMany(s => s),
        ];
        for (var rank = 1; rank < 4; rank++)
            Assert.Equal(starts.MinBy(s => Math.Abs(s - rank * 512)), plan.Borders[rank]);
    }

    // A rank with short documents alone must compute their heads as the whole row does: apart.
    [Fact]
    public void GetPart_short_documents_beside_a_long_one_keeps_the_halves_apart()
    {
        var plan = SequencePlan.Make(
            new ShiftedSparseAttention(64),
            [
                [60, 60, 200],
            ],
            3
        );
        var first = Assert.Single(plan.GetPart(0).Groups);
        Assert.Equal(first.Lower, first.Upper);
        Assert.True(first.IsSplit);
        Assert.False(
            Assert
                .Single(
                    SequencePlan
                        .Make(
                            new ShiftedSparseAttention(64),
                            [
                                [60, 60],
                            ],
                            2
                        )
                        .GetPart(0)
                        .Groups
                )
                .IsSplit
        );
    }

    [Fact]
    public void Make_fewer_documents_than_ranks_leaves_the_last_ranks_without_tokens()
    {
        var plan = SequencePlan.Make(
            new ShiftedSparseAttention(64),
            [
                [30],
                [30],
            ],
            4
        );
        Assert.Equal([0, 30, 60, 60, 60], plan.Borders);
        Assert.Equal(2, plan.Busy);
        Assert.Equal(0, plan.GetPart(3).Length);
        Assert.Empty(plan.GetPart(3).First);
    }
}
