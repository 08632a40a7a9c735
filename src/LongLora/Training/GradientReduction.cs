namespace LongLora.Training;

/// <summary>How the gradients of micro-batches, and of the ranks that share them, are added.</summary>
public enum GradientReduction
{
    /// <summary>As whole numbers in units of 2^-52: the sum does not depend on the number of ranks. 8 bytes per trained weight.</summary>
    Exact,

    /// <summary>In fp32: the last digits depend on the number of ranks.</summary>
    Fast,
}
