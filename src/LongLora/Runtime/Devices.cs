using System.Globalization;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Chooses the device to compute on.</summary>
internal static class Devices
{
    /// <summary>The device with a name.</summary>
    /// <param name="name"><c>auto</c> (CUDA if available, else the CPU), <c>cpu</c>, <c>cuda</c>, or <c>cuda:N</c>.</param>
    /// <exception cref="ConfigurationException">The name is unknown, or the device does not exist.</exception>
    public static Device Parse(string name)
    {
        var (type, index) = ParseName(name);
        if (type == DeviceType.CPU)
            return CPU;
        if (!cuda.is_available() || index >= cuda.device_count())
        {
            throw new ConfigurationException(
                $"Cannot use device '{name}' because this process sees {(cuda.is_available() ? cuda.device_count() : 0)} CUDA devices. "
                    + $"Build with -p:TorchBackend=cuda, or set {LibTorch.DirectoryVariable} to a libtorch with CUDA."
            );
        }
        return new Device(DeviceType.CUDA, index);
    }

    /// <summary>
    /// Parses a name, whether such a device exists or not. This is enough for a plan, which may be made on another machine than the run.
    /// </summary>
    /// <param name="name">As for <see cref="Parse"/>.</param>
    /// <exception cref="ConfigurationException">The name is unknown.</exception>
    internal static (DeviceType Type, int Index) ParseName(string name)
    {
        LibTorch.EnsureLoaded();
        if (name is "cpu" || (name is "auto" && !cuda.is_available()))
            return (DeviceType.CPU, 0);
        var index = 0;
        return
            name is "auto" or "cuda"
            || (
                name.StartsWith("cuda:", StringComparison.Ordinal)
                && int.TryParse(name.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out index)
            )
            ? (DeviceType.CUDA, index)
            : throw new ConfigurationException($"device is '{name}', which is unknown. Use auto, cpu, cuda or cuda:N.");
    }
}
