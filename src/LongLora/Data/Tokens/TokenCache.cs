using System.Security.Cryptography;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// A folder that keeps token files, so that a later run on the same data does not tokenize again. A file's name is the SHA-256 of
/// everything its tokens depend on. Files in the folder never change, and any of them may be deleted.
/// </summary>
internal sealed class TokenCache
{
    /// <summary>Names an entry of a cache.</summary>
    /// <param name="folder">The folder. It is created if it does not exist.</param>
    /// <param name="parts">What the tokens depend on: files with their lengths and times, the tokenizer, options.</param>
    /// <exception cref="ConfigurationException">The folder cannot be created.</exception>
    public TokenCache(string folder, IEnumerable<string> parts)
    {
        AtomicFile.Guard(folder, () => Directory.CreateDirectory(folder));
        Folder = folder;
        Key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\n', parts))));
    }

    /// <summary>The folder.</summary>
    public string Folder { get; }

    /// <summary>SHA-256 of the parts, in hexadecimal.</summary>
    public string Key { get; }

    /// <summary>The file of these tokens.</summary>
    public string FilePath => Path.Combine(Folder, Key + ".tokens");

    /// <summary>Describes a file so that changes are noticed: its full path, length and time of the last change.</summary>
    public static string DescribeFile(string path)
    {
        var file = new FileInfo(path);
        return $"{file.FullName}\t{(file.Exists ? file.Length : -1)}\t{(file.Exists ? file.LastWriteTimeUtc.Ticks : 0)}";
    }

    /// <summary>Identifies a small file wherever it is: its name and the SHA-256 of its content.</summary>
    public static string DescribeContent(string path) =>
        $"{Path.GetFileName(path)}\t{Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)))}";

    /// <summary>Ids that the model has, V; tokens beyond them are refused. Null for no limit.</summary>
    internal int? VocabularySize { get; init; }

    /// <summary>
    /// The cached tokens, compared with their digests; null if there are none, or they are damaged and must be made again.
    /// </summary>
    /// <param name="tell">Told if they are damaged; null if nobody wants to know.</param>
    /// <exception cref="DataException">A token is beyond the vocabulary, or the file cannot be read.</exception>
    internal TokenStore? TryOpen(Action<string>? tell = null)
    {
        if (!File.Exists(FilePath))
            return null;
        TokenStore? store = null;
        try
        {
            store = Open();
            if (store.IsWhole())
            {
                if (VocabularySize is { } size)
                    store.RequireIdsBelow(size, FilePath);
                return store;
            }
            store.Dispose();
        }
        catch (DataException) when (store is null)
        {
            // Damaged as well: its end is missing, for example.
        }
        catch
        {
            store?.Dispose();
            throw;
        }
        tell?.Invoke($"The token file '{FilePath}' is damaged or of an earlier version, so the data are tokenized again.");
        return null;
    }

    private TokenStore Open()
    {
        FileStream? file = null;
        try
        {
            file = new FileStream(FilePath, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            return new TokenStore(file);
        }
        catch (Exception e)
        {
            file?.Dispose();
            if (e is IOException or UnauthorizedAccessException)
                throw new DataException($"Cannot read the token file '{FilePath}': {e.Message}", e);
            throw;
        }
    }

    /// <summary>Copies a finished token file into the cache and opens the copy.</summary>
    internal TokenStore Keep(FileStream finished)
    {
        finished.Flush();
        finished.Position = 0;
        AtomicFile.Write(FilePath, finished.CopyTo);
        return TryOpen()
            ?? throw new DataException($"Cannot read back the token file '{FilePath}'. Check the disk, or run without a token cache.");
    }
}
