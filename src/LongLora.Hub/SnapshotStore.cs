using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>The files of one commit in the cache: their blobs first, then their names, then the branch.</summary>
internal sealed class SnapshotStore : IDisposable
{
    private readonly HubName _name;
    private readonly string _commit,
        _repository,
        _snapshot,
        _blobs,
        _locks;
    private readonly PullOptions _options;
    private readonly PullMeter _meter;
    private readonly BlobDownload _download;
    private readonly HashSet<string> _fresh = []; // blobs that came now

    public SnapshotStore(HubClient client, HubName name, string commit, PullOptions options, PullMeter meter)
    {
        (_name, _commit, _options, _meter) = (name, commit, options, meter);
        var cache = new HubCache(options.Cache);
        (_repository, _snapshot) = (cache.GetFolder(name), cache.GetSnapshot(name, commit));
        _blobs = Path.Combine(_repository, HubCache.Blobs);
        _locks = Path.Combine(options.Cache, ".locks", name.Folder);
        _download = new BlobDownload(client, name, commit, options, meter);
        AtomicFile.Guard(_blobs, () => Directory.CreateDirectory(_blobs));
    }

    /// <summary>Checks that the disk has room for what is missing.</summary>
    /// <exception cref="ConfigurationException">It has not.</exception>
    public void RequireRoom(IReadOnlyList<HubFile> files)
    {
        var missing = files
            .DistinctBy(f => f.Hash)
            .Where(f => !IsThere(Locate(f), f) && !IsThere(GetBlob(f), f))
            .Sum(f => f.Size - PartialBlob.CountDone(GetBlob(f), f.Size, _download.GetRangeBytes(f)));
        if (missing > 0 && _options.FindFreeBytes(_blobs) is { } free && free < missing)
            throw new ConfigurationException(
                $"Cannot get '{_name}' because it needs {Describe(missing)} more, and the disk of '{_options.Cache}' has {Describe(free)} "
                    + "free. Free some space, or set HF_HUB_CACHE to a folder on another disk."
            );
    }

    /// <summary>Gets a file if it is not there, or not right.</summary>
    /// <returns>Where its content is.</returns>
    /// <exception cref="LongLoraException">It cannot be had.</exception>
    public async Task<string> GetAsync(HubFile file, CancellationToken cancellation)
    {
        var (blob, copy) = (GetBlob(file), Locate(file));
        var path = Path.Combine(_locks, file.Hash + ".lock");
        using var held = await CacheLock
            .AcquireAsync(path, () => _meter.SetWaiting($"another process, which gets {file.Path}"), cancellation)
            .ConfigureAwait(false);
        _meter.SetWaiting(null);
        if (await CheckAsync(blob, file, cancellation).ConfigureAwait(false))
            return blob;
        // Where links are not possible, the name has the content itself.
        if (new FileInfo(copy) is { Exists: true, LinkTarget: null } && await CheckAsync(copy, file, cancellation).ConfigureAwait(false))
            return copy;
        await _download.RunAsync(file, blob, cancellation).ConfigureAwait(false);
        lock (_fresh)
            _fresh.Add(blob);
        return blob;
    }

    /// <summary>Gives all files their names, the model's config last, and then points the branch to them.</summary>
    /// <returns>The folder.</returns>
    public string Publish(IReadOnlyList<HubFile> files, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        AtomicFile.Guard(_snapshot, () =>
        {
            foreach (var file in files.OrderBy(f => f.Path == "config.json"))
                Name(file);
            if (_name.Revision is not { } revision || !HubCache.IsCommit(revision))
                WriteRef(_name.Revision ?? HubName.DefaultRevision);
        });
        return _snapshot;
    }

    /// <inheritdoc/>
    public void Dispose() => _download.Dispose();

    private string GetBlob(HubFile file) => Path.Combine(_blobs, file.Hash);

    private string Locate(HubFile file) => Path.Combine([_snapshot, .. file.Path.Split('/')]);

    // A blob is named by its hash, so one with another content was damaged, or written by a program that did not check it.
    private async Task<bool> CheckAsync(string path, HubFile file, CancellationToken cancellation)
    {
        if (!File.Exists(path))
            return false;
        if (await Task.Run(() => file.IsContentOf(path, cancellation), cancellation).ConfigureAwait(false))
        {
            _meter.AddDone(file.Size);
            return true;
        }
        _meter.AddNote($"{file.Path} in the cache had another content than its hash says; it was fetched again.");
        AtomicFile.Guard(path, () => File.Delete(path));
        return false;
    }

    private static bool IsThere(string path, HubFile file) => File.Exists(path) && new FileInfo(path).Length == file.Size;

    private void Name(HubFile file)
    {
        var (path, blob) = (Locate(file), GetBlob(file));
        var folder = Path.GetDirectoryName(path)!;
        Directory.CreateDirectory(folder);
        if (!File.Exists(blob))
            return; // the name has the content itself
        var target = Path.GetRelativePath(folder, blob);
        if (new FileInfo(path).LinkTarget == target)
            return;
        var aside = Path.Combine(_blobs, $"{file.Hash}.{Guid.NewGuid():N}.name"); // of this pull alone, which may share its process
        try
        {
            File.CreateSymbolicLink(aside, target);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Windows needs a right for links. As other programs do, what came now is moved, and what was there is copied.
            if (_fresh.Contains(blob))
                File.Move(blob, aside);
            else
                File.Copy(blob, aside);
        }
        File.Move(aside, path, overwrite: true);
    }

    private void WriteRef(string revision)
    {
        var path = Path.Combine([_repository, HubCache.Refs, .. revision.Split('/')]);
        if (File.Exists(path) && File.ReadAllText(path) == _commit)
            return;
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var aside = Path.Combine(_blobs, $"{_commit}.{Guid.NewGuid():N}.ref"); // not in refs/, whose files are all taken for branches
        File.WriteAllText(aside, _commit);
        File.Move(aside, path, overwrite: true);
    }

    private static string Describe(long bytes) => bytes < 1L << 30 ? $"{bytes / 1048576.0:N1} MiB" : $"{bytes / 1073741824.0:N1} GiB";
}
