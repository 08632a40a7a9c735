using System.Net;
using System.Net.Http.Headers;
using System.Reflection;
using System.Text.Json;
using LongLora.Loading;
using LongLora.Runtime;
using Microsoft.Extensions.Http.Resilience;
using Polly;

namespace LongLora.Hub;

/// <summary>
/// Speaks to the Hub: which commit a name means, which files it has, and ranges of them. Temporary failures are repeated. Redirects are
/// followed here and not by the handler, because the token may go to the Hub alone and the Hub's own headers are on the first answer.
/// </summary>
internal sealed class HubClient : IDisposable
{
    private const int MostRedirects = 5,
        Repetitions = 5;
    private const long MostListBytes = 256L << 20;

    private readonly PullOptions _options;
    private readonly HubName _name;
    private readonly HttpClient _http;
    private readonly string _repository; // escaped, below the endpoint

    public HubClient(PullOptions options, HubName name)
    {
        (_options, _name) = (options, name);
        _repository = (name.IsDataset ? "datasets/" : "") + name.Repository;
        var sockets = new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectTimeout = options.Silence,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            MaxConnectionsPerServer = 2 * options.Connections,
        };
        _http = new HttpClient(new ResilienceHandler(MakePipeline(options)) { InnerHandler = sockets })
        {
            Timeout = Timeout.InfiniteTimeSpan, // answers may take hours; each attempt, and silence within it, has its own limit
        };
        var version = typeof(HubClient).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;
        _http.DefaultRequestHeaders.UserAgent.Add(new ProductInfoHeaderValue("longlora", version.Split('+')[0]));
    }

    /// <summary>The commit that the name means now, and the paths of its files.</summary>
    /// <exception cref="LongLoraException">The server refuses, cannot be reached, or gives an answer that cannot be right.</exception>
    public async Task<(string Commit, IReadOnlyList<string> Files)> ListAsync(CancellationToken cancellation)
    {
        var kind = _name.IsDataset ? "datasets" : "models";
        var revision = Uri.EscapeDataString(_name.Revision ?? HubName.DefaultRevision);
        using var response = await SendAsync(
                HttpMethod.Get,
                MakeAddress($"api/{kind}/{_name.Repository}/revision/{revision}"),
                null,
                null,
                cancellation
            )
            .ConfigureAwait(false);
        await HubErrors.RequireSuccessAsync(response, _options, _name, null, cancellation).ConfigureAwait(false);
        try
        {
            using var limited = new CancellationTokenSource(_options.Silence);
            using var either = CancellationTokenSource.CreateLinkedTokenSource(limited.Token, cancellation);
            await response.Content.LoadIntoBufferAsync(MostListBytes, either.Token).ConfigureAwait(false);
            using var text = JsonDocument.Parse(await response.Content.ReadAsByteArrayAsync(cancellation).ConfigureAwait(false));
            var commit = text.RootElement.GetProperty("sha").GetString()!;
            List<string> files =
            [
                .. text.RootElement.GetProperty("siblings").EnumerateArray().Select(s => s.GetProperty("rfilename").GetString()!),
            ];
            if (!HubCache.IsCommit(commit))
                throw new InvalidOperationException($"its commit is '{commit}'");
            if (files.Find(f => !HubFile.IsSafe(f)) is { } file)
                throw new InvalidOperationException($"it has a file '{file}'");
            return (commit, files);
        }
        catch (Exception e)
            when (e is JsonException or InvalidOperationException or KeyNotFoundException or HttpRequestException or IOException
                || (e is OperationCanceledException && !cancellation.IsCancellationRequested)
            )
        {
            throw new CheckpointException(
                $"Cannot use the list of files of '{_name}' that {_options.Endpoint} sent: {e.Message} Nothing was changed. Try again "
                    + "later, "
                    + "or set HF_ENDPOINT to another server.",
                e
            );
        }
    }

    /// <summary>Length and hash of a file.</summary>
    /// <param name="commit">The commit.</param>
    /// <param name="path">Its path in the repository.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="LongLoraException">The server refuses, cannot be reached, or does not say the hash.</exception>
    public async Task<HubFile> DescribeAsync(string commit, string path, CancellationToken cancellation)
    {
        var seen = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        using var response = await SendAsync(HttpMethod.Head, MakeFileAddress(commit, path), null, seen, cancellation)
            .ConfigureAwait(false);
        if (!IsRedirect(response))
            await HubErrors.RequireSuccessAsync(response, _options, _name, path, cancellation).ConfigureAwait(false);
        var hash = (seen.GetValueOrDefault("X-Linked-Etag") ?? seen.GetValueOrDefault("ETag"))?.Replace("W/", "", StringComparison.Ordinal);
        hash = hash?.Trim('"').ToLowerInvariant();
        var length = seen.GetValueOrDefault("X-Linked-Size") ?? seen.GetValueOrDefault("Content-Length");
        if (seen.GetValueOrDefault("X-Repo-Commit") is { } other && other != commit)
            throw new CheckpointException(
                $"Cannot get {path} of '{_name}' because {_options.Endpoint} gives it of the commit {other}, not {commit}. Try again; "
                    + "if it "
                    + "stays so, set HF_ENDPOINT to another server."
            );
        if (hash is null || !HubFile.IsHash(hash) || !long.TryParse(length, out var size) || size < 0)
            throw new CheckpointException(
                $"Cannot get {path} of '{_name}' because {_options.Endpoint} does not say its length and hash, so what comes could not be "
                    + "checked. Set HF_ENDPOINT to a server that does, such as https://huggingface.co."
            );
        return new HubFile(path, size, hash);
    }

    /// <summary>Asks for a file, or for some bytes of it. The answer is returned whatever it says.</summary>
    /// <param name="commit">The commit.</param>
    /// <param name="path">Its path in the repository.</param>
    /// <param name="range">First and last byte; null for the whole file.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="CheckpointException">No server could be reached.</exception>
    public Task<HttpResponseMessage> GetAsync(string commit, string path, (long From, long To)? range, CancellationToken cancellation) =>
        SendAsync(HttpMethod.Get, MakeFileAddress(commit, path), range, null, cancellation);

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    /// <summary>Whether an answer came from the Hub itself, and not from a server that it sent us to.</summary>
    internal bool IsOfHub(Uri address) =>
        Uri.Compare(address, _options.Endpoint, UriComponents.SchemeAndServer, UriFormat.Unescaped, StringComparison.OrdinalIgnoreCase)
        == 0;

    // With `seen`, a HEAD request: it collects headers, the first of each name, and stops where the Hub sends us to another server.
    private async Task<HttpResponseMessage> SendAsync(
        HttpMethod method,
        Uri address,
        (long From, long To)? range,
        Dictionary<string, string>? seen,
        CancellationToken cancellation
    )
    {
        for (var redirects = 0; ; redirects++)
        {
            using var request = new HttpRequestMessage(method, address);
            request.Headers.AcceptEncoding.ParseAdd("identity");
            if (range is var (from, to))
                request.Headers.Range = new RangeHeaderValue(from, to);
            if (_options.Token is { } token && IsOfHub(address))
                request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
            var response = await SendOnceAsync(request, cancellation).ConfigureAwait(false);
            if (!IsRedirect(response))
            {
                if (seen is not null)
                    Collect(response, seen);
                return response;
            }
            var next = new Uri(address, response.Headers.Location!);
            if (seen is not null)
            {
                if (!IsOfHub(next))
                {
                    Collect(response, seen);
                    return response;
                }
                CollectLinked(response, seen);
            }
            response.Dispose();
            if (
                redirects == MostRedirects
                || next.Scheme is not ("http" or "https")
                || (address.Scheme == "https" && next.Scheme == "http")
            )
                throw new CheckpointException(
                    $"Cannot get '{_name}' because {address.Host} sends us to {next.GetLeftPart(UriPartial.Path)}, which is not followed. "
                        + "Try again later, or set HF_ENDPOINT to another server."
                );
            address = next;
        }
    }

    private async Task<HttpResponseMessage> SendOnceAsync(HttpRequestMessage request, CancellationToken cancellation)
    {
        try
        {
            return await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
            when (e is HttpRequestException or Polly.Timeout.TimeoutRejectedException or IOException
                || (e is OperationCanceledException && !cancellation.IsCancellationRequested)
            )
        {
            throw new CheckpointException(
                $"Cannot get '{_name}' because {request.RequestUri!.Host} cannot be reached: {e.Message} Check the connection, HTTPS_PROXY "
                    + "and HF_ENDPOINT. What has come is kept; run the same command again.",
                e
            );
        }
    }

    // Of an answer that sends us on within the Hub, only what it says of the file: its length is that of a note.
    private static void CollectLinked(HttpResponseMessage response, Dictionary<string, string> seen)
    {
        foreach (var name in (string[])["X-Linked-Etag", "X-Linked-Size", "X-Repo-Commit"])
        {
            if (response.Headers.TryGetValues(name, out var values))
                seen.TryAdd(name, values.First());
        }
    }

    private static void Collect(HttpResponseMessage response, Dictionary<string, string> seen)
    {
        CollectLinked(response, seen);
        if (IsRedirect(response))
            return;
        if (response.Headers.TryGetValues("ETag", out var etag))
            seen.TryAdd("ETag", etag.First());
        if (response.Content.Headers.ContentLength is { } length)
            seen.TryAdd("Content-Length", length.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }

    private static bool IsRedirect(HttpResponseMessage response) =>
        (int)response.StatusCode is 301 or 302 or 303 or 307 or 308 && response.Headers.Location is not null;

    private Uri MakeFileAddress(string commit, string path) =>
        MakeAddress($"{_repository}/resolve/{commit}/{string.Join('/', path.Split('/').Select(Uri.EscapeDataString))}");

    private Uri MakeAddress(string path) => new(_options.Endpoint.AbsoluteUri.TrimEnd('/') + "/" + path);

    private static ResiliencePipeline<HttpResponseMessage> MakePipeline(PullOptions options) =>
        new ResiliencePipelineBuilder<HttpResponseMessage>()
            .AddRetry(
                new HttpRetryStrategyOptions
                {
                    MaxRetryAttempts = Repetitions,
                    Delay = options.FirstDelay,
                    MaxDelay = options.LongestDelay,
                    BackoffType = DelayBackoffType.Exponential,
                    UseJitter = true,
                    ShouldRetryAfterHeader = true,
                    ShouldHandle = arguments =>
                        ValueTask.FromResult(
                            HttpClientResiliencePredicates.IsTransient(arguments.Outcome)
                                && !(HubErrors.ReadRetryAfter(arguments.Outcome.Result) > options.LongestDelay)
                        ),
                }
            )
            .AddTimeout(options.Silence)
            .Build();
}
