using System.Globalization;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>Joins the job that a launcher has started.</summary>
internal static class Job
{
    private static readonly TimeSpan s_longestOperation = TimeSpan.FromMinutes(10);

    private const string VisibleDevices = "CUDA_VISIBLE_DEVICES";

    /// <summary>Joins the job, and leaves each rank of a machine its own GPU. It comes before the first use of CUDA.</summary>
    /// <inheritdoc cref="MpiCommunicator.Open" path="/param|/exception"/>
    internal static MpiCommunicator Open(Launcher launcher, TimeSpan limit, Action<string> tell)
    {
        var communicator = MpiCommunicator.Open(launcher, limit, tell);
        var visible = Environment.GetEnvironmentVariable(VisibleDevices);
        if (ChooseDevice(visible, communicator.LocalRank, communicator.LocalSize) is { } device)
        {
            Environment.SetEnvironmentVariable(VisibleDevices, device);
            Posix.SetVariable(VisibleDevices, device, overwrite: true);
        }
        return communicator;
    }

    /// <summary>
    /// Gives tensors in the memory of GPUs a way of their own, where <see cref="NcclApi.Variable"/> asks for it; null to send them through
    /// the host's memory. All ranks call it.
    /// </summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="device">Where this rank computes.</param>
    /// <exception cref="ConfigurationException">There is no NCCL.</exception>
    internal static NcclCommunicator? OpenNccl(ICommunicator ranks, Device device)
    {
        if (ranks.Size == 1)
            return null;
        // Rank 0's, because a launcher may give the others another environment.
        var named = ranks.BroadcastText(Environment.GetEnvironmentVariable(NcclApi.Variable) ?? "");
        if (ranks.IsAny(device.type != DeviceType.CUDA) || named.Length == 0)
            return null;
        NcclApi? api = null;
        ranks.OnAll("loading NCCL", () => api = NcclApi.Load(named));
        return NcclCommunicator.Open(ranks, api!, () => new CudaStream(device.index), s_longestOperation);
    }

    /// <summary>
    /// The device of a rank: the one of its number among those that are visible. Null to leave it as it is, where the launcher has given
    /// each rank its own, or there is only one rank.
    /// </summary>
    internal static string? ChooseDevice(string? visible, int localRank, int localSize)
    {
        if (localSize == 1)
            return null;
        if (visible is null)
            return localRank.ToString(CultureInfo.InvariantCulture);
        var devices = visible.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return devices.Length >= localSize ? devices[localRank] : null;
    }
}
