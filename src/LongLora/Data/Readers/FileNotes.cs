using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Sentences about files of which nothing was read.</summary>
internal static class FileNotes
{
    private const int MostKinds = 12,
        MostNames = 10;

    /// <summary>Counts files by type, most files first; the type is empty for files without an extension.</summary>
    public static IReadOnlyList<(string Extension, int Files)> CountKinds(IEnumerable<string> names) =>
        [
            .. names
                .CountBy(name => GetKind(Path.GetFileName(name)))
                .Select(k => (k.Key, k.Value))
                .OrderByDescending(k => k.Value)
                .ThenBy(k => k.Key, StringComparer.Ordinal),
        ];

    /// <summary>The types for a message: "3 .doc, 1 .png, 2 without an extension".</summary>
    public static string List(IReadOnlyList<(string Extension, int Files)> kinds)
    {
        var named = string.Join(
            ", ",
            kinds.Take(MostKinds).Select(k => $"{k.Files:N0} {(k.Extension.Length > 0 ? k.Extension : "without an extension")}")
        );
        return kinds.Count <= MostKinds
            ? named
            : $"{named} and {kinds.Skip(MostKinds).Sum(k => k.Files):N0} of {kinds.Count - MostKinds:N0} more types";
    }

    /// <summary>Tells of files in folders for which there is no reader.</summary>
    public static string DescribeUnread(IReadOnlyList<(string Extension, int Files)> kinds) =>
        $"Not read because their type is not supported: {List(kinds)}. Convert those that you need.";

    /// <summary>Tells of files that were read and have no text.</summary>
    public static string DescribeEmpty(IReadOnlyList<string> names) =>
        $"{MessageText.Count(names.Count, "file")} without text: {string.Join(", ", names.Take(MostNames))}"
        + (names.Count > MostNames ? $" and {names.Count - MostNames:N0} more." : ".");

    // A dot in front begins a name, not an extension. What comes after a dot in a sentence is none either.
    private static string GetKind(string name)
    {
        var extension = DataFiles.GetExtension(name);
        return extension.Length > 1 && extension.Length < name.Length && !extension.Any(char.IsWhiteSpace) ? extension : "";
    }
}
