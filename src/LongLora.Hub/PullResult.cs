namespace LongLora.Hub;

/// <summary>What a download left.</summary>
/// <param name="Folder">The folder with the files, under the names that they have in the repository.</param>
/// <param name="Commit">The commit that the files are of.</param>
/// <param name="Files">Paths of the files in the folder.</param>
/// <param name="AllBytes">Bytes of these files.</param>
/// <param name="FetchedBytes">Bytes that came over the network; the rest was there already.</param>
/// <param name="Notes">What the user may want to know, such as a file that was damaged and is replaced; sentences.</param>
public sealed record PullResult(
    string Folder,
    string Commit,
    IReadOnlyList<string> Files,
    long AllBytes,
    long FetchedBytes,
    IReadOnlyList<string> Notes
);
