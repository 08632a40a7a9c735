namespace LongLora.Training;

/// <summary>What is divided among the ranks of a job instead of being kept by each.</summary>
public enum Sharding
{
    /// <summary>Nothing: each rank has everything.</summary>
    None,

    /// <summary>The optimizer's moments and the sums of gradients: up to 16 bytes of the 24 that a trained weight takes.</summary>
    Optimizer,

    /// <summary>
    /// The same, and the frozen matrices of the decoder blocks, which the ranks gather block by block in every pass. Not for full tuning.
    /// </summary>
    Model,
}
