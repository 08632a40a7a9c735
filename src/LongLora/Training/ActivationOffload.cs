namespace LongLora.Training;

/// <summary>Where activations are kept for the backward pass.</summary>
public enum ActivationOffload
{
    /// <summary>On the device that computes.</summary>
    None,

    /// <summary>In the host's memory; the same as None on the CPU.</summary>
    Host,

    /// <summary>In a temporary file.</summary>
    Disk,

    /// <summary>None if they take less than half of the free memory; otherwise Host on CUDA and Disk on the CPU.</summary>
    Auto,
}
