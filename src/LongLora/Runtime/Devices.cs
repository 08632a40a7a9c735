using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Chooses where to compute.</summary>
public static class Devices
{
    /// <summary>The device of a name.</summary>
    /// <param name="name"><c>auto</c> (CUDA where there is one, else the CPU), <c>cpu</c>, <c>cuda</c>, or <c>cuda:N</c>.</param>
    /// <exception cref="ConfigurationException">The name is unknown, or the device is not there.</exception>
    public static Device Parse(string name)
    {
        LibTorch.EnsureLoaded();
        if (name is "cpu" || (name is "auto" && !cuda.is_available()))
            return CPU;
        var index = 0;
        if (name is not ("auto" or "cuda") && !(name.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(name.AsSpan(5), out index) && index >= 0))
            throw new ConfigurationException($"device is '{name}'; use auto, cpu, cuda or cuda:N.");
        if (!cuda.is_available() || index >= cuda.device_count())
        {
            throw new ConfigurationException($"device is '{name}', but this process sees {(cuda.is_available() ? cuda.device_count() : 0)} CUDA devices. "
                + $"Build with -p:TorchBackend=cuda, or set {LibTorch.DirectoryVariable} to a libtorch with CUDA.");
        }
        return new Device(DeviceType.CUDA, index);
    }
}
