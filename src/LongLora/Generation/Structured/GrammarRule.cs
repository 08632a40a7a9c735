namespace LongLora.Generation.Structured;

/// <summary>A named part of a grammar, which may call others and itself.</summary>
/// <param name="name">What it stands for, for messages.</param>
/// <param name="isContainer">Whether a call of it counts as one level of nesting.</param>
internal sealed class GrammarRule(string name, bool isContainer = false)
{
    internal string Name => name;

    internal bool IsContainer => isContainer;

    /// <summary>Its first node; -1 until it is defined.</summary>
    internal int Start { get; set; } = -1;
}
