namespace LongLora.Documents.Tests;

/// <summary>A folder for one test, and the files that lie beside the tests.</summary>
public abstract class TemporaryFolder : IDisposable
{
    protected string Root { get; } = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    /// <summary>stories260K, a trained Llama with a tokenizer of 512 pieces.</summary>
    protected static string Stories { get; } = Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");

    protected static string Material(string name) => Path.Combine(AppContext.BaseDirectory, "Material", name);

    protected string At(params string[] parts) => Path.Combine([Root, .. parts]);

    /// <summary>Writes a text file, and the folders above it.</summary>
    protected string Write(string name, string text)
    {
        var path = At(name.Split('/'));
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    public void Dispose()
    {
        Directory.Delete(Root, recursive: true);
        GC.SuppressFinalize(this);
    }
}
