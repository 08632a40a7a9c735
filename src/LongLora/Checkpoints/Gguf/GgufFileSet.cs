using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// A GGUF model: one file, or all parts of a split one (<c>NAME-00001-of-00003.gguf</c>), opened by the name of any part. The first part
/// has the metadata, and each part has its number (<c>split.no</c>, <c>split.count</c>, <c>split.tensors.count</c>).
/// </summary>
internal sealed partial class GgufFileSet : IDisposable
{
    private readonly OrderedDictionary<string, (GgufTensorInfo Info, GgufReader File)> _tensors = new(StringComparer.Ordinal);

    private GgufFileSet(List<GgufReader> files)
    {
        Files = files;
        foreach (var file in files)
        {
            foreach (var (name, info) in file.Tensors)
            {
                if (!_tensors.TryAdd(name, (info, file)))
                    throw new CheckpointException(
                        $"'{name}' is both in {_tensors[name].File.Path} and in {file.Path}. These parts do not belong together. "
                            + "Download them again."
                    );
            }
        }
    }

    /// <summary>The files, the first part first.</summary>
    public IReadOnlyList<GgufReader> Files { get; }

    /// <summary>The file with the metadata.</summary>
    public GgufReader Main => Files[0];

    /// <summary>Every tensor with its file.</summary>
    public IReadOnlyDictionary<string, (GgufTensorInfo Info, GgufReader File)> Tensors => _tensors;

    /// <summary>Opens a file, or every part of a split one.</summary>
    /// <exception cref="CheckpointException">A part is missing or does not belong to the others, or a file is damaged.</exception>
    public static GgufFileSet Open(string path)
    {
        var given = GgufReader.Read(path);
        var count = Number(given, "split.count") ?? 1;
        if (count == 1)
            return new([given]);
        if (count is < 1 or > 99_999)
            throw GgufHeader.Bad(path, $"split.count is {count}");
        var name = PartName().Match(Path.GetFileName(path));
        if (!name.Success || int.Parse(name.Groups["count"].Value, CultureInfo.InvariantCulture) != count)
            throw new CheckpointException(
                $"{path} is one of {count} parts of a model, but its name does not say which. Rename the parts to "
                    + $"NAME-00001-of-{count:D5}.gguf and so on."
            );
        return new(OpenParts(path, name.Groups["name"].Value, (int)count, given));
    }

    /// <summary>Closes all files.</summary>
    public void Dispose()
    {
        foreach (var file in Files)
            file.Dispose();
    }

    private static List<GgufReader> OpenParts(string path, string name, int count, GgufReader given)
    {
        var folder = Path.GetDirectoryName(path) ?? "";
        var paths = Enumerable.Range(1, count).Select(i => Path.Combine(folder, $"{name}-{i:D5}-of-{count:D5}.gguf")).ToList();
        var missing = paths.Where(p => !File.Exists(p)).Select(Path.GetFileName).ToList();
        if (missing.Count > 0)
            throw new CheckpointException(
                $"{path} is one of {count} parts, but {string.Join(", ", missing)} {(missing.Count == 1 ? "is" : "are")} missing "
                    + "next to it. Download the missing parts."
            );
        var files = paths.ConvertAll(p => Path.GetFileName(p) == Path.GetFileName(path) ? given : GgufReader.Read(p));
        for (var i = 0; i < count; i++)
        {
            var (number, said) = (Number(files[i], "split.no"), Number(files[i], "split.count"));
            if (number != i || said != count)
                throw new CheckpointException(
                    $"{files[i].Path} contains part {number + 1} of {said}, but its name says part {i + 1} of {count}. Download "
                        + "the parts again."
                );
        }
        var (expected, found) = (Number(files[0], "split.tensors.count"), files.Sum(f => f.Tensors.Count));
        return expected is null || expected == found
            ? files
            : throw new CheckpointException(
                $"{files[0].Path} lists {expected} tensors, but the {count} parts have {found}. Download the parts again."
            );
    }

    private static long? Number(GgufReader file, string key) => new GgufMetadata(file).IntegerOrNull(key);

    [GeneratedRegex(@"^(?<name>.+)-(?<number>\d{5})-of-(?<count>\d{5})\.gguf$", RegexOptions.IgnoreCase)]
    private static partial Regex PartName();
}
