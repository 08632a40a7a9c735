namespace LongLora.Attention;

/// <summary>A group (or interleaved groups) of one half of the heads whose tokens lie on two ranks.</summary>
/// <param name="IsUpper">Whether it is one of the upper half.</param>
/// <param name="Left">Tokens on the rank with the earlier tokens.</param>
/// <param name="Right">Tokens on the other rank, which computes the group.</param>
/// <param name="Groups">The group, counted from its own first token.</param>
internal readonly record struct DividedGroup(bool IsUpper, int Left, int Right, TokenGroups Groups)
{
    /// <summary>The group alone, as a pattern.</summary>
    internal AttentionPattern Pattern => new(IsUpper ? [] : [Groups], IsUpper ? [Groups] : []) { IsSplit = true };
}
