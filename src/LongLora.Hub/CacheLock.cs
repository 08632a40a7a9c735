using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>
/// A lock on one blob, shared with Hugging Face's programs: <c>.locks/models--org--name/HASH.lock</c> under the system's
/// lock of whole files.
/// It ends with the process that holds it, however that ends.
/// </summary>
internal sealed class CacheLock : IDisposable
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(100);

    private readonly FileStream _file;

    private CacheLock(FileStream file) => _file = file;

    /// <summary>Takes the lock, and waits as long as another process has it.</summary>
    /// <param name="path">The lock's file.</param>
    /// <param name="waiting">Told once if it has to wait.</param>
    /// <param name="cancellation">Stops waiting.</param>
    public static async Task<CacheLock> AcquireAsync(string path, Action waiting, CancellationToken cancellation)
    {
        AtomicFile.Guard(path, () => Directory.CreateDirectory(Path.GetDirectoryName(path)!));
        for (var isFirst = true; ; isFirst = false)
        {
            if (TryOpen(path) is { } file)
            {
                // One that was removed between opening and locking protects nothing.
                if (File.Exists(path))
                    return new CacheLock(file);
                await file.DisposeAsync().ConfigureAwait(false);
                continue;
            }
            if (isFirst)
                waiting();
            await Task.Delay(s_pause, cancellation).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static FileStream? TryOpen(string path)
    {
        try
        {
            FileStream? file = null;
            AtomicFile.Guard(path, () =>
            {
                try
                {
                    file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 0);
                }
                catch (IOException e) when (IsLocked(e)) { }
            });
            return file;
        }
        catch (ConfigurationException) when (File.Exists(path) && OperatingSystem.IsWindows())
        {
            return null; // Windows refuses access to a file that is being removed
        }
    }

    // A sharing or lock violation on Windows; EAGAIN on Linux and on macOS.
    private static bool IsLocked(IOException e) => (e.HResult & 0xFFFF) is 32 or 33 or 11 or 35;
}
