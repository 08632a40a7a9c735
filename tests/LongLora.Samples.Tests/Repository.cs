namespace LongLora.Samples.Tests;

/// <summary>The files of the clone that the tests were built in.</summary>
internal static class Repository
{
    internal static string At(params string[] parts)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LongLora.slnx")))
                return Path.Combine([folder.FullName, .. parts]);
        }
        throw new DirectoryNotFoundException($"No folder above {AppContext.BaseDirectory} has LongLora.slnx.");
    }
}
