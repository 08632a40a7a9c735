namespace LongLora.Layers;

/// <summary>What a weight is; this decides its initial value in a new model.</summary>
internal enum WeightRole
{
    /// <summary>A matrix: normal with the config's standard deviation.</summary>
    Matrix,

    /// <summary>A norm's scale: ones.</summary>
    Scale,

    /// <summary>A bias: zeros.</summary>
    Bias,

    /// <summary>What a norm's scale has above one: zeros.</summary>
    Offset,
}
