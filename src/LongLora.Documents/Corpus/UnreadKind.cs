using LongLora.Data;

namespace LongLora.Documents.Corpus;

/// <summary>Files of one type that were found in a folder and not read, because there is no reader for them.</summary>
/// <param name="Extension">The type, such as <c>.doc</c>; empty for files without an extension.</param>
/// <param name="Files">How many there are.</param>
public sealed record UnreadKind(string Extension, int Files)
{
    /// <summary>Counts files by type, most files first.</summary>
    internal static IReadOnlyList<UnreadKind> Count(IEnumerable<string> names) =>
        [.. FileNotes.CountKinds(names).Select(k => new UnreadKind(k.Extension, k.Files))];

    /// <summary>The types for messages.</summary>
    internal static IReadOnlyList<(string Extension, int Files)> Pairs(IReadOnlyList<UnreadKind> kinds) =>
        [.. kinds.Select(k => (k.Extension, k.Files))];
}
