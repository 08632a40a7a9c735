using LongLora.Data;

namespace LongLora.Documents.Corpus;

/// <summary>Files of one type that were found in a folder and not read, because there is no reader for them.</summary>
/// <param name="Extension">The type, such as <c>.doc</c>; empty for files without an extension.</param>
/// <param name="Files">How many there are.</param>
public sealed record UnreadKind(string Extension, int Files)
{
    /// <summary>Counts files by type, most files first.</summary>
    internal static IReadOnlyList<UnreadKind> Count(IEnumerable<string> names) =>
        [
            .. names
                .CountBy(GetKind)
                .Select(k => new UnreadKind(k.Key, k.Value))
                .OrderByDescending(k => k.Files)
                .ThenBy(k => k.Extension, StringComparer.Ordinal),
        ];

    /// <summary>The types for a message: "3 .doc, 1 .png, 2 without an extension".</summary>
    internal static string List(IReadOnlyList<UnreadKind> kinds)
    {
        const int most = 12;
        var named = string.Join(
            ", ",
            kinds.Take(most).Select(k => $"{k.Files:N0} {(k.Extension.Length > 0 ? k.Extension : "without an extension")}")
        );
        return kinds.Count <= most ? named : $"{named} and {kinds.Skip(most).Sum(k => k.Files):N0} of {kinds.Count - most:N0} more types";
    }

    // A dot in front begins a name, not an extension. What comes after a dot in a sentence is none either.
    private static string GetKind(string name)
    {
        var extension = DataFiles.GetExtension(name);
        return extension.Length > 1 && extension.Length < name.Length && !extension.Any(char.IsWhiteSpace) ? extension : "";
    }
}
