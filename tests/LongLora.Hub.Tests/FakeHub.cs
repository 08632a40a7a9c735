using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace LongLora.Hub.Tests;

/// <summary>
/// A server that answers as the Hub does: a list of files by revision, headers of each file, small files by a redirect within the host,
/// large ones by a redirect to another host that knows ranges and refuses tokens. What goes wrong is set by the test.
/// </summary>
internal sealed class FakeHub : IAsyncDisposable
{
    private static readonly string[] s_large = [".safetensors", ".bin", ".gguf", ".parquet"];

    private readonly WebApplication _hub,
        _store;

    private FakeHub(WebApplication hub, WebApplication store) => (_hub, _store) = (hub, store);

    /// <summary>Files by kind, name, commit and path, such as <c>models/org/name</c>.</summary>
    public Dictionary<string, Dictionary<string, Dictionary<string, byte[]>>> Repositories { get; } = [];

    /// <summary>Commits by branch or tag, of all repositories.</summary>
    public Dictionary<string, string> Branches { get; } = [];

    /// <summary>Every request: method, address, range, and whether it came with a token.</summary>
    public ConcurrentQueue<(string Method, Uri Address, string? Range, bool HasToken)> Requests { get; } = [];

    /// <summary>Answers in place of the server, for requests that it returns true for.</summary>
    public Func<HttpContext, bool>? Refuse { get; set; }

    /// <summary>Bytes of a body after which its connection is cut; null for none. Asked once a body.</summary>
    public Func<string, long?> CutAfter { get; set; } = _ => null;

    /// <summary>Changes a file's content on its way.</summary>
    public Func<byte[], byte[]> Change { get; set; } = bytes => bytes;

    /// <summary>Changes the headers of an answer about a file.</summary>
    public Action<IHeaderDictionary> ChangeHeaders { get; set; } = _ => { };

    /// <summary>Whether the store of large files knows ranges.</summary>
    public bool KnowsRanges { get; set; } = true;

    public Uri Address => new(GetAddress(_hub));

    public static async Task<FakeHub> StartAsync()
    {
        FakeHub? made = null;
        var store = await StartAsync("127.0.0.1", context => made!.AnswerStoreAsync(context));
        var hub = await StartAsync("localhost", context => made!.AnswerAsync(context));
        return made = new FakeHub(hub, store);
    }

    /// <summary>Adds a commit and points a branch to it.</summary>
    public string Commit(string repository, IReadOnlyDictionary<string, byte[]> files, string branch = "main")
    {
        var commit = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(20));
        if (!Repositories.TryGetValue(repository, out var commits))
            Repositories[repository] = commits = [];
        commits[commit] = new(files);
        Branches[branch] = commit;
        return commit;
    }

    public static string Hash(string path, byte[] content) =>
        IsLarge(path) ? Convert.ToHexStringLower(SHA256.HashData(content)) : HashAsGit(content);

    private static string HashAsGit(byte[] content)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA1);
        hash.AppendData(Encoding.ASCII.GetBytes($"blob {content.Length}\0"));
        hash.AppendData(content);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    public static bool Answer(HttpContext context, int status, string? code = null, params (string Name, string Value)[] headers)
    {
        context.Response.StatusCode = status;
        if (code is not null)
            context.Response.Headers["X-Error-Code"] = code;
        foreach (var (name, value) in headers)
            context.Response.Headers[name] = value;
        return true;
    }

    /// <summary>Whether a request is for the host of the large files.</summary>
    public static bool IsStore(HttpContext context) => context.Request.Host.Host != "localhost";

    public async ValueTask DisposeAsync()
    {
        await _hub.DisposeAsync();
        await _store.DisposeAsync();
    }

    private static bool IsLarge(string path) => s_large.Contains(Path.GetExtension(path));

    private static async Task<WebApplication> StartAsync(string host, RequestDelegate answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0));
        var app = builder.Build();
        app.Run(answer);
        await app.StartAsync();
        app.Configuration["host"] = host;
        return app;
    }

    private static string GetAddress(WebApplication app) =>
        app
            .Services.GetRequiredService<IServer>()
            .Features.Get<IServerAddressesFeature>()!
            .Addresses.Single()
            .Replace("127.0.0.1", app.Configuration["host"], StringComparison.Ordinal);

    private void Log(HttpContext context) =>
        Requests.Enqueue(
            (
                context.Request.Method,
                new Uri($"http://{context.Request.Host}{context.Request.Path}"),
                context.Request.Headers.Range.FirstOrDefault(),
                context.Request.Headers.Authorization.Count > 0
            )
        );

    private async Task AnswerAsync(HttpContext context)
    {
        Log(context);
        if (Refuse?.Invoke(context) == true)
            return;
        var parts = context.Features.Get<IHttpRequestFeature>()!.RawTarget.Split('?')[0].Split('/')[1..];
        parts = [.. parts.Select(Uri.UnescapeDataString)];
        if (parts is ["api", "models" or "datasets", var organization, var name, "revision", var revision])
            await AnswerListAsync(context, $"{parts[1]}/{organization}/{name}", revision);
        else if (parts is ["api", "resolve-cache", var kind, var owner, var model, var commit, .. var path])
            await SendAsync(context, $"{kind}/{owner}/{model}", commit, string.Join('/', path));
        else
        {
            var isDataset = parts[0] == "datasets";
            var rest = isDataset ? parts[1..] : parts;
            AnswerResolve(context, $"{(isDataset ? "datasets" : "models")}/{rest[0]}/{rest[1]}", rest[3], string.Join('/', rest[4..]));
        }
    }

    private async Task AnswerListAsync(HttpContext context, string repository, string revision)
    {
        if (!Repositories.TryGetValue(repository, out var commits))
        {
            Answer(context, 401, "RepoNotFound");
            return;
        }
        var commit = Branches.GetValueOrDefault(revision, revision);
        if (!commits.TryGetValue(commit, out var files))
        {
            Answer(context, 404, "RevisionNotFound");
            return;
        }
        await context.Response.WriteAsJsonAsync(
            new
            {
                id = repository,
                sha = commit,
                siblings = files.Keys.Select(f => new { rfilename = f }),
            }
        );
    }

    private void AnswerResolve(HttpContext context, string repository, string commit, string path)
    {
        if (!Repositories[repository][commit].TryGetValue(path, out var content))
        {
            Answer(context, 404, "EntryNotFound");
            return;
        }
        var headers = context.Response.Headers;
        headers["X-Repo-Commit"] = commit;
        if (IsLarge(path))
        {
            headers["X-Linked-Etag"] = $"\"{Hash(path, content)}\"";
            headers["X-Linked-Size"] = content.Length.ToString(CultureInfo.InvariantCulture);
            headers.ETag = "\"of-the-redirect\"";
        }
        ChangeHeaders(headers);
        context.Response.StatusCode = 302;
        headers.Location = IsLarge(path)
            ? $"{GetAddress(_store)}/{repository}/{commit}/{path}?signature=1"
            : $"/api/resolve-cache/{repository}/{commit}/{path}";
    }

    private async Task AnswerStoreAsync(HttpContext context)
    {
        Log(context);
        if (context.Request.Headers.Authorization.Count > 0)
        {
            Answer(context, 400); // as stores with signed addresses do
            return;
        }
        if (Refuse?.Invoke(context) == true)
            return;
        var parts = context.Request.Path.Value!.Split('/')[1..];
        await SendAsync(context, string.Join('/', parts[..3]), parts[3], string.Join('/', parts[4..]));
    }

    private async Task SendAsync(HttpContext context, string repository, string commit, string path)
    {
        var content = Repositories[repository][commit][path];
        context.Response.Headers.ETag = $"\"{Hash(path, content)}\"";
        ChangeHeaders(context.Response.Headers);
        content = Change(content);
        var (from, to) = (0, content.Length - 1);
        if (KnowsRanges && context.Request.GetTypedHeaders().Range is { } range)
        {
            var asked = range.Ranges.Single();
            (from, to) = ((int)asked.From!, (int)Math.Min(asked.To ?? to, to));
            if (from >= content.Length)
            {
                Answer(context, 416, null, ("Content-Range", $"bytes */{content.Length}"));
                return;
            }
            context.Response.StatusCode = 206;
            context.Response.Headers.ContentRange = $"bytes {from}-{to}/{content.Length}";
        }
        var length = to - from + 1;
        context.Response.ContentLength = length;
        if (HttpMethods.IsHead(context.Request.Method))
            return;
        var cut = CutAfter(path);
        await context.Response.Body.WriteAsync(content.AsMemory(from, (int)Math.Min(length, cut ?? length)));
        if (cut < length)
        {
            await context.Response.Body.FlushAsync();
            await Task.Delay(20); // what was sent shall arrive before the connection ends
            context.Abort();
        }
    }
}
