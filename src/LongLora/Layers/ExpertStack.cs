namespace LongLora.Layers;

// E experts, I inputs, O outputs

/// <summary>The same matrix of all experts, which a checkpoint stores in one tensor.</summary>
/// <param name="Name">Name of the tensor, such as <c>model.layers.0.mlp.experts.gate_up_proj</c>.</param>
/// <param name="Inputs">I.</param>
/// <param name="Outputs">O.</param>
/// <param name="IsTransposed">Whether the tensor is [E, I, O]; otherwise [E, O, I].</param>
internal sealed record ExpertStack(string Name, long Inputs, long Outputs, bool IsTransposed)
{
    /// <summary>The layer of each expert.</summary>
    public IReadOnlyList<LinearLayer> Layers { get; internal set; } = [];

    /// <summary>Shape of the tensor.</summary>
    /// <param name="experts">E.</param>
    public long[] GetShape(int experts) => IsTransposed ? [experts, Inputs, Outputs] : [experts, Outputs, Inputs];

    /// <summary>Name of one expert's layer, such as <c>model.layers.0.mlp.experts.3.gate_up_proj</c>.</summary>
    /// <param name="expert">Index of the expert.</param>
    public string GetLayerName(int expert)
    {
        var cut = Name.LastIndexOf('.');
        return $"{Name[..cut]}.{expert}{Name[cut..]}";
    }
}
