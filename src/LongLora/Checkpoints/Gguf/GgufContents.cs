namespace LongLora.Checkpoints;

/// <summary>What a GGUF model says of itself: a file's, or one that is about to be written.</summary>
/// <param name="Path">The file, for messages.</param>
/// <param name="Keys">The metadata.</param>
/// <param name="Tensors">Name, type and shape of every tensor.</param>
/// <param name="Read">The numbers of a small tensor.</param>
internal sealed record GgufContents(
    string Path,
    IReadOnlyDictionary<string, object> Keys,
    IReadOnlyDictionary<string, GgufTensorInfo> Tensors,
    Func<string, float[]> Read
)
{
    /// <summary>Those of files.</summary>
    public static GgufContents Of(GgufFileSet files) =>
        new(files.Main.Path, files.Main.Keys, files.Tensors.ToDictionary(t => t.Key, t => t.Value.Info, StringComparer.Ordinal), name =>
        {
            using var tensor = files.Tensors[name].File.Open(name);
            return tensor.data<float>().ToArray();
        });
}
