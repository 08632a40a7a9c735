using LongLora.Attention;
using LongLora.Positions;

namespace LongLora.Models;

/// <summary>
/// What a forward pass needs beside tokens and weights. Training and evaluation differ in this argument and in nothing else.
/// </summary>
/// <param name="Attention">Who looks at whom.</param>
/// <param name="Positions">Rotary tables for exactly the length of the text.</param>
/// <param name="DocumentLengths">Document lengths in each row where documents may not see each other; null for one document a row.</param>
public sealed record ForwardContext(
    IAttention Attention,
    RotaryEmbedding Positions,
    IReadOnlyList<IReadOnlyList<int>>? DocumentLengths = null
);
