using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>
/// Gets a model or a data set from the Hugging Face Hub into the cache that Hugging Face's programs share. This is the only part of
/// LongLora that opens connections by itself.
/// </summary>
/// <remarks>
/// Every file is checked against its hash before it gets its name. A revision appears in the cache only when all of its files are there,
/// and its branch points to it last. So a download that ends early changes nothing but what it can continue with.
/// </remarks>
public static class HubPull
{
    private const int FilesAtOnce = 4;

    /// <summary>Gets what is missing. Files that are there are checked too.</summary>
    /// <param name="options">What, from where, and where to.</param>
    /// <param name="progress">Told some times a second; null for nobody.</param>
    /// <param name="cancellation">Stops it. What has come is kept, and the next call continues.</param>
    /// <exception cref="ConfigurationException">
    /// The network is forbidden, there is no such repository, revision or file, it may not be read, or the disk is full.
    /// </exception>
    /// <exception cref="CheckpointException">The server cannot be reached or does not answer rightly.</exception>
    public static async Task<PullResult> RunAsync(
        PullOptions options,
        IProgress<PullProgress>? progress = null,
        CancellationToken cancellation = default
    )
    {
        var name = HubName.Parse(options.Name, options.IsDataset)
            ?? throw new ConfigurationException(
                $"'{options.Name}' is not a name of the Hub. Give ORG/NAME, or ORG/NAME@REVISION, such as HuggingFaceTB/SmolLM2-135M."
            );
        if (options.IsOffline)
            throw new ConfigurationException(
                $"Cannot get '{name}' because the network is forbidden (--offline or HF_HUB_OFFLINE). Allow it, or get the model on "
                    + "another "
                    + "machine and copy its folder."
            );
        var wanted = name.Part is { } part ? [part, .. options.Files] : options.Files;
        name = name with { Part = null };
        using var client = new HubClient(options, name);
        var (commit, files) = await client.ListAsync(cancellation).ConfigureAwait(false);
        var chosen = FileChoice.Choose(name, files, wanted);
        var meter = new PullMeter(progress);
        using var store = new SnapshotStore(client, name, commit, options, meter);

        // Which shards there are stands in their index.
        List<HubFile> all = [];
        if (wanted.Count == 0 && FileChoice.FindIndex(chosen) is { } index)
        {
            all.Add(await client.DescribeAsync(commit, index, cancellation).ConfigureAwait(false));
            store.RequireRoom(all);
            var shards = FileChoice.ListShards(name, files, await store.GetAsync(all[0], cancellation).ConfigureAwait(false));
            chosen = [.. chosen.Where(f => f != index), .. shards];
        }
        all.AddRange(await DescribeAsync(client, commit, chosen, options, cancellation).ConfigureAwait(false));
        meter.SetAll(all.Sum(f => f.Size));
        store.RequireRoom(all);
        await Parallel
            .ForEachAsync(
                all.OrderBy(f => f.Size),
                new ParallelOptions { MaxDegreeOfParallelism = FilesAtOnce, CancellationToken = cancellation },
                async (file, stop) => await store.GetAsync(file, stop).ConfigureAwait(false)
            )
            .ConfigureAwait(false);
        var folder = store.Publish(all, cancellation);
        return new PullResult(
            folder,
            commit,
            [.. all.Select(f => f.Path).Order(StringComparer.Ordinal)],
            all.Sum(f => f.Size),
            meter.FetchedBytes,
            meter.Notes
        );
    }

    private static async Task<HubFile[]> DescribeAsync(
        HubClient client,
        string commit,
        IReadOnlyList<string> files,
        PullOptions options,
        CancellationToken cancellation
    )
    {
        var described = new HubFile[files.Count];
        await Parallel
            .ForEachAsync(
                files.Index(),
                new ParallelOptions { MaxDegreeOfParallelism = options.Connections, CancellationToken = cancellation },
                async (file, stop) => described[file.Index] = await client.DescribeAsync(commit, file.Item, stop).ConfigureAwait(false)
            )
            .ConfigureAwait(false);
        return described;
    }
}
