using System.Globalization;
using System.IO.Hashing;
using System.Text;

namespace LongLora.Runtime;

/// <summary>
/// The checksums of a folder's files, in its <c>checksums.xxh128</c>: one line per file, as <c>xxh128sum</c> writes them, after a line with
/// their number. They find damage, such as a bad disk or a broken copy; they do not protect against an attacker.
/// </summary>
internal static class Checksums
{
    public const string FileName = "checksums.xxh128";

    private const string Start = "# files: ";
    private const int DigestLetters = 32;

    /// <summary>Writes the checksums of all files that lie in a folder itself.</summary>
    public static void Write(string folder) =>
        Write(folder, Directory.EnumerateFiles(folder).Select(f => Path.GetFileName(f)!).Where(name => name != FileName));

    /// <summary>Writes the checksums of some files of a folder.</summary>
    public static void Write(string folder, IEnumerable<string> names)
    {
        var ordered = names.Order(StringComparer.Ordinal).ToList();
        var text = new StringBuilder().Append(Start).Append(CultureInfo.InvariantCulture, $"{ordered.Count}\n");
        foreach (var name in ordered)
            text.Append(Compute(Path.Combine(folder, name))).Append("  ").Append(name).Append('\n');
        AtomicFile.WriteText(Path.Combine(folder, FileName), text.ToString());
    }

    /// <summary>
    /// Compares files with their checksums. A folder without checksums, and a file that they do not name, is accepted. A text file that
    /// differs is only told (<see cref="Notices"/>): people edit these by hand, and what is wrong in one is seen by whoever parses it.
    /// </summary>
    /// <param name="folder">The folder.</param>
    /// <param name="which">Which files to compare, by name; null for all.</param>
    /// <returns>The names of all files that have a checksum; null if the folder has no checksums.</returns>
    /// <exception cref="CheckpointException">A file other than a text differs or is missing, or the list itself is damaged.</exception>
    public static IReadOnlySet<string>? Verify(string folder, Func<string, bool>? which = null)
    {
        var list = Path.Combine(folder, FileName);
        if (!File.Exists(list))
            return null;
        var known = Read(list);
        foreach (var (name, digest) in known.Where(k => which?.Invoke(k.Key) ?? true))
        {
            var path = Path.Combine(folder, name);
            if (!File.Exists(path))
            {
                if (!IsText(name))
                    throw new CheckpointException($"'{path}' is missing, but {FileName} lists it. Copy the whole folder again.");
                Notices.Tell($"'{path}' was removed after the folder was written. It is used without it.");
            }
            else if (Compute(path) == digest)
            {
                continue;
            }
            else if (IsText(name))
            {
                Notices.Tell(
                    $"'{path}' was edited after the folder was written, or is damaged: its content does not match {FileName}. It is "
                        + "used as it is."
                );
            }
            else
            {
                throw new CheckpointException(
                    $"'{path}' is damaged or was changed: its content does not match {FileName}. Copy it again. If you changed it on "
                        + $"purpose, delete '{list}'."
                );
            }
        }
        return known.Keys.ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>
    /// The first file or folder in a folder that its checksums do not name, so that something else than what wrote them put it there; null
    /// if there is none.
    /// </summary>
    /// <exception cref="CheckpointException">The list is damaged.</exception>
    public static string? FindForeign(string folder)
    {
        var list = Path.Combine(folder, FileName);
        HashSet<string> known = File.Exists(list) ? [FileName, .. Read(list).Keys] : [];
        return Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(entry => !known.Contains(Path.GetFileName(entry)));
    }

    // The index of a model's parts belongs to the weights.
    private static bool IsText(string name) =>
        Path.GetExtension(name) is ".json" or ".jinja" or ".txt" or ".md" or ".yaml"
        && !name.EndsWith(".index.json", StringComparison.Ordinal);

    /// <summary>XxHash128 of a file's content, in hexadecimal. It takes about as long as reading the file.</summary>
    /// <exception cref="CheckpointException">The file cannot be read.</exception>
    public static string Compute(string path) => Compute([path]);

    /// <summary>XxHash128 of the contents of files, one after the other, in hexadecimal.</summary>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public static string Compute(IEnumerable<string> paths)
    {
        var hash = new XxHash128();
        foreach (var path in paths)
        {
            try
            {
                using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, 0);
                hash.Append(stream);
                Liveness.Tick();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new CheckpointException($"Cannot read '{path}': {e.Message}", e);
            }
        }
        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    private static Dictionary<string, string> Read(string list)
    {
        CheckpointException Damaged() =>
            new($"'{list}' is damaged, so the files beside it cannot be checked. Copy it again, or delete it to read them unchecked.");
        string text;
        try
        {
            text = File.ReadAllText(list);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read '{list}': {e.Message}", e);
        }
        var lines = text.Split('\n');
        if (
            lines is not [var first, .., ""]
            || !first.StartsWith(Start, StringComparison.Ordinal)
            || !int.TryParse(first.AsSpan(Start.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            || count != lines.Length - 2
        )
            throw Damaged();
        var digests = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in lines[1..^1])
        {
            var (digest, name) = line.Length > DigestLetters + 2 ? (line[..DigestLetters], line[(DigestLetters + 2)..]) : ("", "");
            if (
                name.Length == 0
                || name.IndexOfAny(['/', '\\', '\0']) >= 0
                || !digest.All(char.IsAsciiHexDigitLower)
                || !line.AsSpan(DigestLetters, 2).SequenceEqual("  ")
                || !digests.TryAdd(name, digest)
            )
                throw Damaged();
        }
        return digests;
    }
}
