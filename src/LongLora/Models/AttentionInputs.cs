using LongLora.Attention;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, D model size, V vocabulary

/// <summary>Queries, keys and values of some heads.</summary>
/// <param name="Query">[B, H, L, K].</param>
/// <param name="Key">[B, J, L, K].</param>
/// <param name="Value">[B, J, L, K].</param>
/// <param name="Heads">Which query heads of the layer they are.</param>
internal readonly record struct AttentionInputs(Tensor Query, Tensor Key, Tensor Value, HeadSlice Heads);
