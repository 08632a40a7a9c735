using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Server.Tests;

/// <summary>
/// The server behind a reverse proxy that runs with the recipe of docs/how-to/serve.md. Skips where the proxy is not installed.
/// </summary>
public sealed partial class ProxyTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public Task Nginx_passes_pages_answers_and_streams_on() => Check("nginx", (folder, port, server) =>
        {
            var recipe = Recipe("listen 443 ssl;")
                .Replace("listen 443 ssl;", $"listen 127.0.0.1:{port};", StringComparison.Ordinal)
                .Replace("127.0.0.1:8080", server.Authority, StringComparison.Ordinal);
            var paths = string.Concat(
                ((string[])["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]).Select(p => $"{p}_temp_path {folder}/{p};\n")
            );
            File.WriteAllText(
                Path.Combine(folder, "nginx.conf"),
                $"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}{recipe}}}\n"
            );
            return ["-p", folder, "-c", Path.Combine(folder, "nginx.conf")];
        });

    [Fact]
    public Task Caddy_passes_pages_answers_and_streams_on() => Check("caddy", (folder, port, server) =>
        {
            var recipe = Recipe("reverse_proxy")
                .Replace("chat.example {", $"http://chat.example:{port} {{", StringComparison.Ordinal)
                .Replace("127.0.0.1:8080", server.Authority, StringComparison.Ordinal);
            File.WriteAllText(Path.Combine(folder, "Caddyfile"), $"{{\nadmin off\nauto_https off\n}}\n{recipe}");
            return ["run", "--adapter", "caddyfile", "--config", Path.Combine(folder, "Caddyfile")];
        });

    private static async Task Check(string program, Func<string, int, Uri, string[]> configure)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() || Find(program) is null, $"{program} is not installed here.");
        await using var server = await RunningServer.Start();
        var folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;
        var port = FreePort();
        var start = new ProcessStartInfo(Find(program)!, configure(folder, port, server.Address))
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        start.Environment["HOME"] = folder;
        using var process = Process.Start(start)!;
        try
        {
            using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}/") };
            // As a browser at the public name sends it.
            client.DefaultRequestHeaders.Host = $"chat.example:{port}";
            client.DefaultRequestHeaders.Add("Origin", $"http://chat.example:{port}");
            await Begin(client, process);
            Assert.Contains("<title>", await client.GetStringAsync("", Cancelled), StringComparison.Ordinal);
            const string Question = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":8";
            var whole = await Post(client, Question + "}");
            Assert.True(whole.IsSuccessStatusCode, await whole.Content.ReadAsStringAsync(Cancelled));
            var stream = await Post(client, Question + ",\"stream\":true}");
            Assert.True(stream.IsSuccessStatusCode, await stream.Content.ReadAsStringAsync(Cancelled));
            Assert.Equal("text/event-stream", stream.Content.Headers.ContentType!.MediaType);
            using var reader = new StreamReader(await stream.Content.ReadAsStreamAsync(Cancelled));
            Assert.Equal(": accepted", await reader.ReadLineAsync(Cancelled));
            Assert.EndsWith("data: [DONE]\n\n", await reader.ReadToEndAsync(Cancelled), StringComparison.Ordinal);
            // A page of another origin is still refused.
            client.DefaultRequestHeaders.Remove("Origin");
            client.DefaultRequestHeaders.Add("Origin", "http://other.example");
            Assert.Equal(HttpStatusCode.Forbidden, (await Post(client, Question + "}")).StatusCode);
        }
        finally
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task Begin(HttpClient client, Process process)
    {
        for (var wait = 0; ; wait++)
        {
            try
            {
                Assert.True((await client.GetAsync("health", Cancelled)).IsSuccessStatusCode);
                return;
            }
            catch (HttpRequestException) when (wait < 300 && !process.HasExited)
            {
                await Task.Delay(100, Cancelled);
            }
            catch (HttpRequestException)
            {
                process.Kill();
                Assert.Fail(await process.StandardError.ReadToEndAsync(Cancelled));
            }
        }
    }

    private static async Task<HttpResponseMessage> Post(HttpClient client, string json)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "v1/chat/completions")
        {
            Content = new StringContent(json, Encoding.UTF8, "application/json"),
        };
        return await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancelled);
    }

    // The block of the guide that has this text.
    private static string Recipe(string mark)
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "docs", "how-to", "serve.md")))
            folder = folder.Parent;
        var guide = File.ReadAllText(Path.Combine(folder.FullName, "docs", "how-to", "serve.md")).ReplaceLineEndings("\n");
        return Assert.Single(Blocks().Matches(guide), m => m.Groups[1].Value.Contains(mark, StringComparison.Ordinal)).Groups[1].Value;
    }

    // Administrators' programs need not be in the path of others.
    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator)
            .Append("/usr/sbin")
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    [GeneratedRegex("^```[a-z]*\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Blocks();
}
