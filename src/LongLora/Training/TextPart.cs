using LongLora.Attention;
using LongLora.Models;
using LongLora.Positions;

namespace LongLora.Training;

/// <summary>A rank's part of a batch.</summary>
/// <param name="Tokens">Which tokens.</param>
/// <param name="Attention">Their attention, which asks the other ranks.</param>
/// <param name="TokensForHeads">As in <see cref="ForwardContext"/>.</param>
internal sealed record TextPart(SequencePart Tokens, IAttention Attention, long TokensForHeads)
{
    /// <summary>What the pass over this part needs.</summary>
    /// <param name="positions">Positions of its tokens.</param>
    internal ForwardContext MakeContext(RotaryEmbedding positions) => new(Attention, positions) { TokensForHeads = TokensForHeads };
}
