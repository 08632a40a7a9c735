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

    /// <summary>The folder of a tokenizer in the shared material; skips the test where it is absent.</summary>
    public static string Tokenizer(string name) => name == "llama2" ? s_llama2.Value : Shared("tokenizers", name);

    // Beside Llama 2's tokenizer.model lies the tokenizer.json of another model.
    private static readonly Lazy<string> s_llama2 = new(() =>
    {
        var origin = Shared("tokenizers", "llama2");
        var folder = new TemporaryFolder();
        AppDomain.CurrentDomain.ProcessExit += (_, _) => folder.Dispose();
        foreach (var file in Directory.GetFiles(origin).Where(f => Path.GetFileName(f) != "tokenizer.json"))
            File.Copy(file, folder[Path.GetFileName(file)]);
        return folder.Root;
    });

    /// <summary>A file or folder of the <c>shared</c> folder beside the project; null where it is absent.</summary>
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
