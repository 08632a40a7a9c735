namespace LongLora.Models;

// N rows, D model size, F MLP size

/// <summary>What a block's backward pass computes again, unless the forward pass keeps it.</summary>
[Flags]
internal enum ActivationKinds
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>The output projection of attention, [N, D].</summary>
    AttentionOutput = 1,

    /// <summary>The output of the MLP, [N, D], which only a norm or another branch behind it needs.</summary>
    MlpOutput = 2,

    /// <summary>Queries, keys and values of all heads, after norms and rotary positions.</summary>
    Heads = 4,

    /// <summary>The outputs of the MLP's first layers: gate and up, [N, F] each.</summary>
    MlpInputs = 8,
}
