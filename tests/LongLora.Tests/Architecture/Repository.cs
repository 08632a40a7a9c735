namespace LongLora.Tests.Architecture;

/// <summary>The sources that the tests were built from.</summary>
internal static class Repository
{
    private static readonly string? s_root = FindRoot();

    /// <summary>A path below the root of the repository; skips the test where the sources are gone.</summary>
    internal static string At(params string[] parts)
    {
        Assert.SkipWhen(s_root is null, "the sources are not beside the tests");
        return Path.Combine([s_root!, .. parts]);
    }

    /// <summary>The C# files of some folders, without what the build makes, as paths below the root.</summary>
    internal static IEnumerable<string> CSharpFiles(params string[] folders) =>
        folders
            .SelectMany(folder => Directory.EnumerateFiles(At(folder), "*.cs", SearchOption.AllDirectories))
            .Select(path => Path.GetRelativePath(At(), path).Replace('\\', '/'))
            .Where(path => !path.Split('/').Any(part => part is "bin" or "obj"))
            .Order(StringComparer.Ordinal);

    private static string? FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LongLora.slnx")))
                return folder.FullName;
        }
        return null;
    }
}
