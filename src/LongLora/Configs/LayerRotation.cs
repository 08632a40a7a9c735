namespace LongLora.Configs;

/// <summary>Which rotary positions a layer's queries and keys have.</summary>
internal enum LayerRotation
{
    /// <summary>Those of <see cref="ModelConfig.RopeTheta"/> and <see cref="ModelConfig.RopeScaling"/>.</summary>
    Main,

    /// <summary>Those of <see cref="ModelConfig.LocalRope"/>.</summary>
    Local,

    /// <summary>None: the layer knows the order only from the causal mask and the layers below (NoPE).</summary>
    None,
}
