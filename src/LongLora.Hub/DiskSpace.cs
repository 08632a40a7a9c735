namespace LongLora.Hub;

/// <summary>How much room a disk has.</summary>
internal static class DiskSpace
{
    /// <summary>Free bytes of the disk that holds a folder that exists; null if the system does not tell.</summary>
    public static long? FindFree(string folder)
    {
        var full = Path.GetFullPath(folder);
        try
        {
            return new DriveInfo(OperatingSystem.IsWindows() ? Path.GetPathRoot(full)! : full).AvailableFreeSpace;
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
