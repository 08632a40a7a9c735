namespace LongLora.Attention;

/// <summary>A group (or interleaved groups) of one half of the heads whose tokens lie on two ranks.</summary>
/// <param name="IsUpper">Whether it is one of the upper half.</param>
/// <param name="Left">Tokens on the rank with the earlier tokens.</param>
/// <param name="Right">Tokens on the other rank.</param>
/// <param name="Groups">The group, counted from its own first token.</param>
/// <param name="LeftShare">The share of its heads that the rank with the earlier tokens computes; the other rank computes the rest.</param>
internal readonly record struct DividedGroup(bool IsUpper, int Left, int Right, TokenGroups Groups, double LeftShare)
{
    /// <summary>
    /// Which query heads of its half either rank computes: whole key-value heads, so that no gradient of one is a sum over ranks.
    /// </summary>
    /// <param name="heads">H, all query heads of the layer.</param>
    /// <param name="times">Query heads of a key-value head.</param>
    internal IEnumerable<(long First, long End, bool IsOnLeft)> DivideHeads(long heads, long times)
    {
        long first = IsUpper ? heads / 2 : 0,
            end = IsUpper ? heads : heads / 2,
            shared = first / times,
            count = (end + times - 1) / times - shared,
            cut = Math.Clamp((shared + (long)Math.Round(count * (1 - LeftShare))) * times, first, end);
        if (first < cut)
            yield return (first, cut, false);
        if (cut < end)
            yield return (cut, end, true);
    }

    /// <summary>The group alone, as a pattern.</summary>
    internal AttentionPattern Pattern => new(IsUpper ? [] : [Groups], IsUpper ? [Groups] : []) { IsSplit = true };
}
