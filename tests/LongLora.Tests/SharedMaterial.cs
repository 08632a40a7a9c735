namespace LongLora.Tests;

/// <summary>Where tests find files: the goldens that are part of the project, and the larger material that may lie beside it.</summary>
internal static class SharedMaterial
{
    /// <summary>A file of tests/LongLora.Tests/Goldens.</summary>
    public static string Golden(params string[] parts) => Path.Combine([AppContext.BaseDirectory, "Goldens", .. parts]);

    /// <summary>A file or folder of the <c>shared</c> folder beside the project; skips the test where it is absent.</summary>
    public static string Shared(params string[] parts)
    {
        if (FindShared(parts) is { } path)
            return path;
        Assert.Skip($"needs shared/{string.Join('/', parts)}, which is not beside this clone");
        return "";
    }

    /// <summary>The same; null where it is absent.</summary>
    public static string? FindShared(params string[] parts)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var path = Path.Combine([folder.FullName, "shared", .. parts]);
            if (File.Exists(path) || Directory.Exists(path))
                return path;
        }
        return null;
    }
}
