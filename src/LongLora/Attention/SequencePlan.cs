namespace LongLora.Attention;

// L tokens, G group, P ranks

/// <summary>
/// How a text is divided among ranks, each of which has consecutive tokens. Every border is the start of an attention group in one half of
/// the heads, the nearest to an equal share. So it divides at most one group, in the other half, and with S²-Attn at most G/2 tokens lie on
/// either side. Documents and attention alone decide it, so all ranks know it without asking.
/// </summary>
/// <param name="Borders">
/// P + 1 tokens: the first one of each rank, and L. Ranks at the end have no tokens if there are too few groups.
/// </param>
/// <param name="Rows">The groups of the whole text, one pattern for each row of the batch, which lie one after the other.</param>
internal sealed record SequencePlan(IReadOnlyList<int> Borders, IReadOnlyList<AttentionPattern> Rows)
{
    /// <summary>Divides a text.</summary>
    /// <param name="attention">Its groups.</param>
    /// <param name="rows">Lengths of the documents in each row of the batch.</param>
    /// <param name="ranks">P.</param>
    internal static SequencePlan Make(IAttention attention, IReadOnlyList<IReadOnlyList<int>> rows, int ranks)
    {
        var (patterns, length) = (new List<AttentionPattern>(), 0);
        foreach (var documents in rows)
        {
            patterns.Add(AttentionPattern.Join(documents, attention.MakePattern, length));
            length += documents.Sum();
        }
        int[] starts = [.. patterns.SelectMany(p => p.Lower.Concat(p.Upper)).SelectMany(g => g.Starts).Distinct().Order()];
        var borders = new int[ranks + 1];
        borders[ranks] = length;
        for (var rank = 1; rank < ranks; rank++)
            borders[rank] = FindNearest(starts, (double)rank * length / ranks, borders[rank - 1]) ?? length;
        return new(borders, patterns);
    }

    /// <summary>P.</summary>
    internal int Ranks => Borders.Count - 1;

    /// <summary>Number of ranks that have tokens.</summary>
    internal int Busy => Enumerable.Range(0, Ranks).Count(rank => Borders[rank + 1] > Borders[rank]);

    /// <summary>Tokens of the rank that has most.</summary>
    internal int Longest => Enumerable.Range(0, Ranks).Max(rank => Borders[rank + 1] - Borders[rank]);

    /// <summary>What one rank has.</summary>
    internal SequencePart GetPart(int rank)
    {
        var (start, end) = (Borders[rank], Borders[rank + 1]);
        return new(
            start,
            end - start,
            [.. Rows.Select(row => row.Narrow(start, end)).Where(row => row.Lower.Count + row.Upper.Count > 0)],
            rank == 0 || end == start ? [] : FindDivided(rank),
            end == Borders[Ranks] ? [] : FindDivided(rank + 1)
        );
    }

    /// <summary>
    /// The groups that the border before a rank divides. There is one border less than ranks, so each rank computes (P - 1) / P of one
    /// border's groups: rank 0 that much of those at its end, the next one the rest and some of the next, and so on.
    /// </summary>
    internal IReadOnlyList<DividedGroup> FindDivided(int rank)
    {
        var border = Borders[rank];
        var found = new List<DividedGroup>();
        foreach (var row in Rows)
        {
            foreach (var (isUpper, all) in new[] { (false, row.Lower), (true, row.Upper) })
            {
                foreach (var divided in all.Select(g => g.FindDivided(border)).OfType<TokenGroups>())
                {
                    if (!row.IsSplit || divided.Start < Borders[rank - 1] || divided.End > Borders[rank + 1])
                        throw new InvalidOperationException($"The group {divided} lies on more than the two ranks beside token {border}.");
                    found.Add(
                        new(
                            isUpper,
                            border - divided.Start,
                            divided.End - border,
                            divided with
                            {
                                Start = 0,
                            },
                            (double)(Ranks - rank) / Ranks
                        )
                    );
                }
            }
        }
        return found;
    }

    // The start after a token that is nearest to a place; the first one of two.
    private static int? FindNearest(int[] starts, double place, int after)
    {
        var first = Array.BinarySearch(starts, after);
        first = first >= 0 ? first + 1 : ~first;
        if (first == starts.Length)
            return null;
        var best = first;
        for (var i = first + 1; i < starts.Length && Math.Abs(starts[i] - place) < Math.Abs(starts[best] - place); i++)
            best = i;
        return starts[best];
    }
}
