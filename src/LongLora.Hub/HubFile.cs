using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace LongLora.Hub;

/// <summary>A file of a repository: where it is in it, how long it is, and the hash of its content.</summary>
/// <param name="Path">Its path, with slashes.</param>
/// <param name="Size">Bytes.</param>
/// <param name="Hash">SHA-256 in 64 hexadecimal digits for large files, or git's SHA-1 of a blob in 40.</param>
internal sealed record HubFile(string Path, long Size, string Hash)
{
    private const int BufferBytes = 1 << 20;

    /// <summary>Whether a text is a hash of one of the two kinds.</summary>
    public static bool IsHash(string text) => text.Length is 40 or 64 && text.All(char.IsAsciiHexDigitLower);

    /// <summary>Whether a path stays below the folder that it is put into, on every system.</summary>
    public static bool IsSafe(string path) =>
        path.Length > 0
        && path.IndexOfAny(['\\', ':', '\0']) < 0
        && path.Split('/').All(part => part.Length > 0 && part is not "." and not ".." && !part.EndsWith('.') && !part.EndsWith(' '));

    /// <summary>Whether a file on disk has this length and content. Reads all of it.</summary>
    public bool IsContentOf(string file, CancellationToken cancellation)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0, FileOptions.SequentialScan);
        if (stream.Length != Size)
            return false;
        // Git names a blob by the SHA-1 of a header and the content: a checksum here, as git uses it, not a secret.
        using var hash = IncrementalHash.CreateHash(Hash.Length == 64 ? HashAlgorithmName.SHA256 : HashAlgorithmName.SHA1);
        if (Hash.Length == 40)
            hash.AppendData(Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"blob {Size}\0")));
        var buffer = new byte[BufferBytes];
        for (int read; (read = stream.Read(buffer)) > 0; cancellation.ThrowIfCancellationRequested())
            hash.AppendData(buffer, 0, read);
        return Convert.ToHexStringLower(hash.GetHashAndReset()) == Hash;
    }
}
