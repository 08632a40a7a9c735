using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Loading;

/// <summary>Finds the GGUF model in a folder that holds one, or several of which one is named.</summary>
internal static partial class GgufFolder
{
    /// <summary>The file, the first part of a split one; null if the folder has none and none is asked for.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="part">
    /// A file's name, or the part of it that names its quantization, such as <c>Q4_K_M</c>; null for the only one.
    /// </param>
    /// <param name="name">What the folder is called in messages.</param>
    /// <exception cref="CheckpointException">There are several that fit, or none that fits.</exception>
    public static string? Find(string folder, string? part, string name)
    {
        var files = Directory
            .EnumerateFiles(
                folder,
                "*.gguf",
                new EnumerationOptions { RecurseSubdirectories = true, MatchCasing = MatchCasing.CaseInsensitive }
            )
            .Select(file => Path.GetRelativePath(folder, file).Replace('\\', '/'))
            .Order(StringComparer.Ordinal)
            .ToList();
        var fitting = Choose(files, part);
        return fitting switch
        {
            [var only] => Path.Combine(folder, only),
            [] when part is null => null,
            [] => throw new CheckpointException(
                $"'{name}': there is no .gguf file '{part}' in '{folder}'"
                    + $"{(files.Count > 0 ? $". It has {List(Choose(files, null))}" : "")}. Get it with longlora pull and --file."
            ),
            _ => throw new CheckpointException(
                $"'{name}' holds several GGUF models: {List(fitting)}. Say which one: give its path, or for a name of the Hub "
                    + $"'ORG/NAME:{GetKind(fitting[0])}'."
            ),
        };
    }

    /// <summary>The models among some files: of a split one its first part, and no projectors of pictures.</summary>
    /// <param name="files">Paths with slashes.</param>
    /// <param name="part">What the name must be or contain; null for any.</param>
    public static IReadOnlyList<string> Choose(IEnumerable<string> files, string? part)
    {
        var models = files
            .Where(f => f.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
            .Where(f => !Path.GetFileName(f).Contains("mmproj", StringComparison.OrdinalIgnoreCase))
            .Where(f => SplitPattern().Match(f) is not { Success: true } split || int.Parse(split.Groups[1].ValueSpan) == 1)
            .ToList();
        if (part is null)
            return models;
        bool Ends(string file) => ("/" + file).EndsWith("/" + part, StringComparison.OrdinalIgnoreCase);
        bool IsKind(string file) => GetKind(file).Equals(part, StringComparison.OrdinalIgnoreCase);
        foreach (var fits in (Func<string, bool>[])[Ends, IsKind, f => f.Contains(part, StringComparison.OrdinalIgnoreCase)])
        {
            if (models.Where(fits).ToList() is { Count: > 0 } found)
                return found;
        }
        return [];
    }

    /// <summary>All parts of a model among some files: those with the same name and count.</summary>
    /// <param name="files">Paths with slashes.</param>
    /// <param name="first">The model's first part, or its only one.</param>
    public static IEnumerable<string> ListParts(IEnumerable<string> files, string first)
    {
        static string Stem(string file) => SplitPattern().Replace(file, m => $"-of-{m.Groups[2].Value}.gguf");
        return files.Where(f => f == first || (SplitPattern().IsMatch(first) && Stem(f) == Stem(first)));
    }

    // "Q4_K_M" of "model.Q4_K_M.gguf" and of "model-Q4_K_M-00001-of-00002.gguf".
    private static string GetKind(string file)
    {
        var stem = SplitPattern().Replace(Path.GetFileName(file), ".gguf")[..^".gguf".Length];
        return stem[(stem.LastIndexOfAny(['-', '.']) + 1)..];
    }

    private static string List(IReadOnlyList<string> files) =>
        string.Join(", ", files.Take(8)) + (files.Count > 8 ? $" and {files.Count - 8} more" : "");

    [GeneratedRegex(@"-(\d{5})-of-(\d{5})\.gguf$", RegexOptions.IgnoreCase)]
    private static partial Regex SplitPattern();
}
