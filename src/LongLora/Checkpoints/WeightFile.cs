using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>A weight file in one of the supported formats: its checked header, and how to open it.</summary>
/// <param name="Path">The file.</param>
/// <param name="Format">Name of the format, for people.</param>
/// <param name="Tensors">Every tensor.</param>
/// <param name="DataBytes">Bytes of all tensors together.</param>
/// <param name="Aliases">Tensors that share the data of another one, with the name of that one.</param>
/// <param name="Notes">The file's notes.</param>
internal sealed record WeightFile(
    string Path,
    string Format,
    IReadOnlyDictionary<string, TensorInfo> Tensors,
    long DataBytes,
    IReadOnlyDictionary<string, string> Aliases,
    IReadOnlyDictionary<string, string> Notes
)
{
    private static readonly Dictionary<string, string> s_none = [];

    private bool IsPickle { get; init; }

    /// <summary>Reads the header of a file. The first bytes tell its format.</summary>
    /// <exception cref="CheckpointException">The file is missing, damaged or not supported.</exception>
    public static WeightFile Read(string path)
    {
        if (TorchPickleHeader.IsLikely(path))
        {
            var pickle = TorchPickleHeader.Read(path);
            return new(
                path,
                pickle.IsLegacy ? "PyTorch file of the format before 1.6" : "PyTorch file",
                pickle.Tensors,
                pickle.DataBytes,
                pickle.Aliases,
                s_none
            )
            {
                IsPickle = true,
            };
        }
        if (!path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase))
            RefuseUnknown(path);
        var header = SafetensorsHeader.Read(path);
        return new(path, "safetensors file", header.Tensors, header.DataBytes, s_none, header.Metadata);
    }

    /// <summary>Maps the file.</summary>
    public ITensorSource Open() => IsPickle ? new TorchPickleReader(Path) : new SafetensorsReader(Path);

    // Accepts a safetensors file under another name. For other files it says what they most likely are.
    private static void RefuseUnknown(string path)
    {
        using var stream = SafetensorsHeader.OpenFile(path);
        Span<byte> start = stackalloc byte[9];
        var read = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        if (read == start.Length && start[8] == (byte)'{')
            return;
        var seen = start[..read];
        throw new CheckpointException(
            $"{path} is neither a PyTorch file (a zip archive or a pickle) nor a safetensors file. "
                + (
                    seen.StartsWith("version h"u8)
                        ? "It is a Git LFS pointer: the file itself has not been downloaded. Run 'git lfs pull' in its folder."
                    : read == 0 ? "It is empty."
                    : "It is of another kind, such as tokens, or damaged."
                )
        );
    }
}
