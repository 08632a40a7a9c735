namespace LongLora.Training;

/// <summary>Where the activations that the backward pass needs wait for it.</summary>
public enum ActivationOffload
{
    /// <summary>Where the model computes.</summary>
    None,

    /// <summary>In the host's memory; the same as None on the CPU.</summary>
    Host,

    /// <summary>In a temporary file.</summary>
    Disk,

    /// <summary>None, while they take less than half of the memory that is free; else Host on CUDA and Disk on the CPU.</summary>
    Auto,
}
