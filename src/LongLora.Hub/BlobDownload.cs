using System.Buffers;
using System.Net;
using System.Runtime.ExceptionServices;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>
/// Brings one blob into the cache: several ranges at once, each continued where its connection was cut. It gets its name only after its
/// length and hash were found right.
/// </summary>
internal sealed class BlobDownload(HubClient client, HubName name, string commit, PullOptions options, PullMeter meter) : IDisposable
{
    private const int Attempts = 5, // without a byte of progress
        BufferBytes = 1 << 17;
    private const long LeastRange = 16L << 20,
        MostRange = 256L << 20;

    private readonly SemaphoreSlim _connections = new(options.Connections);

    /// <summary>Bytes of a range of a file.</summary>
    public long GetRangeBytes(HubFile file) => options.RangeBytes ?? Math.Clamp(file.Size / 64, LeastRange, MostRange);

    /// <summary>Gets a blob. The caller holds its lock.</summary>
    /// <param name="file">Path, length and hash.</param>
    /// <param name="blob">Where to put it.</param>
    /// <param name="cancellation">Stops it; what has come is kept.</param>
    /// <exception cref="LongLoraException">It cannot be had; the message says why.</exception>
    public async Task RunAsync(HubFile file, string blob, CancellationToken cancellation)
    {
        // What an earlier attempt left may be damaged, or of another server: then once more from the start.
        var rangeBytes = GetRangeBytes(file);
        for (var isFirst = true; ; isFirst = false)
        {
            using var partial = PartialBlob.Open(blob, file.Size, rangeBytes);
            meter.AddDone(partial.DoneBytes);
            RangeRefusedException? refused = null;
            try
            {
                await FetchAsync(partial, file, cancellation).ConfigureAwait(false);
            }
            catch (RangeRefusedException e)
            {
                refused = e;
            }
            finally
            {
                partial.SaveRanges();
            }
            if (refused is null && await Task.Run(() => file.IsContentOf(partial.Path, cancellation), cancellation).ConfigureAwait(false))
            {
                partial.Finish(blob);
                return;
            }
            meter.AddDone(-partial.DoneBytes);
            partial.Discard();
            if (refused is { IsIgnored: true } && rangeBytes < file.Size)
            {
                rangeBytes = file.Size; // one stream, from the start
                continue;
            }
            if (isFirst && (refused is not null || partial.IsResumed))
            {
                meter.AddNote($"What an earlier download left of {file.Path} was not right; it was fetched from the start.");
                continue;
            }
            if (refused is not null)
                throw new CheckpointException($"{refused.Message} Try again later, or set HF_ENDPOINT to another server.");
            throw new CheckpointException(
                $"{file.Path} of '{name}' came with another content than {options.Endpoint.Host} says (hash {file.Hash[..12]}...), and was "
                    + "thrown away. Try again; if it stays so, a proxy or mirror changes it: check HTTPS_PROXY and HF_ENDPOINT."
            );
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _connections.Dispose();

    private async Task FetchAsync(PartialBlob partial, HubFile file, CancellationToken cancellation)
    {
        var all = Parallel.ForEachAsync(
            partial.Missing,
            new ParallelOptions { MaxDegreeOfParallelism = options.Connections, CancellationToken = cancellation },
            async (range, stop) =>
            {
                await _connections.WaitAsync(stop).ConfigureAwait(false);
                try
                {
                    await FetchRangeAsync(partial, range, file, stop).ConfigureAwait(false);
                }
                finally
                {
                    _connections.Release();
                }
                partial.SaveRanges();
            }
        );
        try
        {
            await all.ConfigureAwait(false);
        }
        catch when (all.Exception?.InnerExceptions.FirstOrDefault(e => e is LongLoraException or RangeRefusedException) is { } why)
        {
            ExceptionDispatchInfo.Throw(why); // not that the others were stopped
        }
    }

    private async Task FetchRangeAsync(PartialBlob partial, int range, HubFile file, CancellationToken cancellation)
    {
        for (var failures = 0; partial.Next(range) < partial.End(range); )
        {
            var from = partial.Next(range);
            var why = await TryFetchAsync(partial, range, file, cancellation).ConfigureAwait(false);
            if (why is null)
                continue;
            failures = partial.Next(range) > from ? 1 : failures + 1;
            if (failures > Attempts)
                throw new CheckpointException(
                    $"The connection for {file.Path} of '{name}' was cut {failures} times in a row at byte {partial.Next(range):N0} of "
                        + $"{file.Size:N0}: {why} What has come is kept; run the same command again."
                );
            var delay = options.FirstDelay * Math.Pow(2, failures - 1);
            await Task.Delay(delay < options.LongestDelay ? delay : options.LongestDelay, cancellation).ConfigureAwait(false);
        }
    }

    // Null if the server sent what was asked for; else how it ended too early, with what has come written.
    private async Task<string?> TryFetchAsync(PartialBlob partial, int range, HubFile file, CancellationToken cancellation)
    {
        var (from, end) = (partial.Next(range), partial.End(range));
        var isWhole = from == 0 && end == file.Size;
        using var response = await client.GetAsync(commit, file.Path, isWhole ? null : (from, end - 1), cancellation).ConfigureAwait(false);
        if (response.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable)
            throw new RangeRefusedException($"{file.Path} of '{name}': the server has no bytes from {from:N0} on.", isIgnored: false);
        if (!response.IsSuccessStatusCode && !client.IsOfHub(response.RequestMessage!.RequestUri!))
            return $"{response.RequestMessage.RequestUri!.Host} answers {(int)response.StatusCode}."; // its signed address may have expired
        await HubErrors.RequireSuccessAsync(response, options, name, file.Path, cancellation).ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.PartialContent)
        {
            if (!isWhole && partial.RangeBytes < file.Size)
                throw new RangeRefusedException($"{file.Path} of '{name}': the server sends whole files only.", isIgnored: true);
            // Passes over what is there.
            return await CopyAsync(response, partial, range, from, end, file, cancellation).ConfigureAwait(false);
        }
        var sent = response.Content.Headers.ContentRange;
        if (sent?.From != from || (sent.HasLength && sent.Length != file.Size))
            throw new CheckpointException(
                $"{file.Path} of '{name}': the server was asked for bytes {from:N0} to {end - 1:N0} of {file.Size:N0} and sent "
                    + $"'{sent}'. Try "
                    + "again later, or set HF_ENDPOINT to another server."
            );
        return await CopyAsync(response, partial, range, 0, end, file, cancellation).ConfigureAwait(false);
    }

    private async Task<string?> CopyAsync(
        HttpResponseMessage response,
        PartialBlob partial,
        int range,
        long skip,
        long end,
        HubFile file,
        CancellationToken cancellation
    )
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            var body = await response.Content.ReadAsStreamAsync(cancellation).ConfigureAwait(false);
            while (partial.Next(range) < end)
            {
                int read;
                using var silence = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
                silence.CancelAfter(options.Silence);
                try
                {
                    read = await body.ReadAsync(buffer.AsMemory(0, BufferBytes), silence.Token).ConfigureAwait(false);
                }
                catch (Exception e)
                    when (e is IOException or HttpRequestException
                        || (e is OperationCanceledException && !cancellation.IsCancellationRequested)
                    )
                {
                    return e is OperationCanceledException ? "The server fell silent." : e.Message;
                }
                if (read == 0)
                    return $"The server sent no more than {partial.Next(range):N0} of {file.Size:N0} bytes.";
                var passed = (int)Math.Min(skip, read);
                skip -= passed;
                var taken = (int)Math.Min(read - passed, end - partial.Next(range));
                partial.Append(range, buffer.AsMemory(passed, taken));
                meter.AddFetched(taken);
            }
            return null;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
