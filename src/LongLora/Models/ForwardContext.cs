using LongLora.Attention;
using LongLora.Positions;

namespace LongLora.Models;

/// <summary>What a forward pass needs besides tokens and weights. Training and evaluation differ only in this argument.</summary>
/// <param name="Attention">Which tokens look at which.</param>
/// <param name="Positions">Rotary tables for exactly the length of the text.</param>
/// <param name="DocumentLengths">
/// Lengths of the documents in each row if documents must not see each other; null if each row is one document.
/// </param>
internal sealed record ForwardContext(
    IAttention Attention,
    RotaryEmbedding Positions,
    IReadOnlyList<IReadOnlyList<int>>? DocumentLengths = null
)
{
    /// <summary>Additional inputs of the blocks; null if the model has none.</summary>
    internal SideInputs? Side { get; init; }

    /// <summary>
    /// The number of tokens that decides how many heads are processed at a time, the same for all parts of a text; null for the tokens of
    /// the pass.
    /// </summary>
    internal long? TokensForHeads { get; init; }
}
