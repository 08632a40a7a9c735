using System.Globalization;

namespace LongLora.Distributed;

/// <summary>Joins the job that a launcher has started.</summary>
internal static class Job
{
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
