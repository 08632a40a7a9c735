using System.IO.Compression;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Server.Tests;

/// <summary>How requests arrive: bytes, headers, proxies, TLS.</summary>
public class TransportTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static ByteArrayContent Bytes(byte[] bytes, string type = "application/json")
    {
        var content = new ByteArrayContent(bytes);
        content.Headers.ContentType = new MediaTypeHeaderValue(type);
        return content;
    }

    private static async Task<JsonElement> Error(HttpResponseMessage response) =>
        JsonElement.Parse(await response.Content.ReadAsStringAsync(Cancelled)).GetProperty("error");

    public static TheoryData<string, string, string> Broken =>
        new()
        {
            { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"aBAD\"}]}", "messages[0].content" },
            { "/v1/chat/completions", "{\"messages\":[{\"role\":\"BAD\",\"content\":\"a\"}]}", "messages[0].role" },
            { "/v1/chat/completions", "{\"messages\":[],\"model\":\"BADx\"}", "model" },
            { "/v1/completions", "{\"prompt\":[\"a\",\"aBADb\"]}", "prompt[1]" },
            { "/v1/completions", "{\"prompt\":\"a\",\"stop\":[\"BAD\"]}", "stop[0]" },
            { "/v1/completions", "{\"prompt\":\"a\",\"metadata\":{\"a\":{\"b\":\"BAD\"}}}", "metadata.a.b" },
            { "/v1/completions", "{\"prompt\":\"a\",\"metadata\":{\"BAD\":1}}", "the name of a member of metadata" },
            { "/v1/responses", "{\"input\":\"BAD\"}", "input" },
            { "/v1/embeddings", "{\"input\":[\"BAD\"]}", "input[0]" },
            { "/tokenize", "{\"prompt\":\"BAD\"}", "prompt" },
            {
                "/tokens",
                "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"BAD\"}]}]}",
                "messages[0].content[0].text"
            },
        };

    [Fact]
    public async Task Half_a_character_is_refused_with_the_name_of_its_field()
    {
        await using var server = await RunningServer.Start();
        foreach (var row in Broken)
        {
            var (path, json, field) = row.Data;
            byte[][] halves = ["\\ud83d"u8.ToArray(), "\\udc00"u8.ToArray(), [0xC3], [0xED, 0xA0, 0xBD], [0xFF]];
            foreach (var half in halves)
            {
                var parts = json.Split("BAD");
                byte[] bytes = [.. Encoding.UTF8.GetBytes(parts[0]), .. half, .. Encoding.UTF8.GetBytes(parts[1])];
                using var response = await server.Client.PostAsync(path, Bytes(bytes), Cancelled);
                Assert.True(
                    response.StatusCode == HttpStatusCode.BadRequest,
                    $"{json}, {Convert.ToHexString(half)}: {response.StatusCode}"
                );
                Assert.Equal(field, (await Error(response)).GetProperty("param").GetString());
            }
        }
        Assert.Equal(200, (await server.Ask("Whole: \\ud83d\\ude00 😀")).Status);
    }

    [Theory]
    [InlineData("gzip", 200)]
    [InlineData("br", 200)]
    [InlineData("deflate", 200)]
    [InlineData("zstd", 200)]
    [InlineData("identity", 200)]
    [InlineData("lzma", 415)]
    public async Task Packed_body_is_unpacked_or_refused(string encoding, int status)
    {
        await using var server = await RunningServer.Start(o => o with { MaxBodyBytes = 1 << 16 });
        byte[] Pack(string json)
        {
            using var packed = new MemoryStream();
            using (
                Stream packer = encoding switch
                {
                    "gzip" => new GZipStream(packed, CompressionMode.Compress, true),
                    "br" => new BrotliStream(packed, CompressionMode.Compress, true),
                    "deflate" => new ZLibStream(packed, CompressionMode.Compress, true),
                    "zstd" => new ZstdSharp.CompressionStream(packed, leaveOpen: true),
                    _ => new BufferedStream(packed, 1 << 21),
                }
            )
            {
                packer.Write(Encoding.UTF8.GetBytes(json));
                packer.Flush();
                if (encoding is "identity" or "lzma")
                    return packed.ToArray();
            }
            return packed.ToArray();
        }
        async Task<(int, string?)> Send(byte[] bytes, string path = "/v1/completions")
        {
            using var content = Bytes(bytes, path.StartsWith("/v1", StringComparison.Ordinal) ? "application/json" : "text/plain");
            content.Headers.ContentEncoding.Add(encoding);
            using var response = await server.Client.PostAsync(path, content, Cancelled);
            return (
                (int)response.StatusCode,
                response.IsSuccessStatusCode ? null : (await Error(response)).GetProperty("code").GetString()
            );
        }
        var whole = Pack("{\"prompt\":\"Once\",\"max_tokens\":2}");
        Assert.Equal(status, (await Send(whole)).Item1);
        if (encoding is "identity" or "lzma")
            return;
        // A small body that unpacks to a large one.
        Assert.Equal((413, "body_too_large"), await Send(Pack($$"""{"prompt":"{{new string('x', 1 << 20)}}"}""")));
        var text = Pack(string.Concat(Enumerable.Range(0, 2000).Select(i => $"{i * 7919 % 1000} ")));
        Assert.Equal((200, null), await Send(text, "/documents?name=a.txt"));
        foreach (var path in (string[])["/v1/completions", "/documents?name=a.txt"])
        {
            // Bytes of another kind, one that is wrong in the middle, and an end that comes too early.
            Assert.Equal((400, "invalid_encoding"), await Send([1, 2, 3, 4], path));
            byte[] cut = path[1] == 'v' ? whole[..^9] : text[..(text.Length / 2)];
            Assert.Equal((400, "invalid_encoding"), await Send(cut, path));
        }
    }

    [Fact]
    public async Task Form_that_is_cut_off_is_refused()
    {
        await using var server = await RunningServer.Start();
        const string Form =
            "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nOnce upon a time\r\n--edge--\r\n";
        for (var length = Form.Length - 6; length > 0; length -= 20)
        {
            using var content = Bytes(Encoding.ASCII.GetBytes(Form[..length]));
            content.Headers.ContentType = MediaTypeHeaderValue.Parse("multipart/form-data; boundary=edge");
            using var response = await server.Client.PostAsync("/documents", content, Cancelled);
            Assert.True(response.StatusCode == HttpStatusCode.BadRequest, $"{length}: {response.StatusCode}");
        }
    }

    [Theory]
    [InlineData("", "The body is empty")]
    [InlineData("{\"prompt\":\"a\",}", "from line 1, byte 15 on")]
    [InlineData("{\n\"prompt\": 'a'}", "from line 2, byte 11 on")]
    [InlineData("{\"prompt\":\"a\"} x", "from line 1, byte 16 on")]
    public async Task Body_that_is_no_json_is_refused_with_the_place(string json, string said)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post("/v1/completions", json);
        Assert.Equal((400, "invalid_json"), (status, body.GetProperty("error").GetProperty("code").GetString()));
        Assert.Contains(said, body.GetProperty("error").GetProperty("message").GetString());
        Assert.DoesNotContain("JsonReaderOptions", body.ToString());
        Assert.Equal(200, (await server.Post("/v1/completions", "\uFEFF{\"prompt\":\"a\",\"max_tokens\":1}")).Status);
    }

    [Fact]
    public async Task Method_that_is_not_accepted_is_told_with_those_that_are()
    {
        await using var server = await RunningServer.Start();
        using var response = await server.Client.GetAsync("/v1/completions", Cancelled);
        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        Assert.Equal(["POST"], response.Content.Headers.Allow);
    }

    [Fact]
    public async Task Model_with_a_slash_in_its_name_is_found_in_both_forms()
    {
        await using var server = await RunningServer.Start(beside: "org/name");
        foreach (var path in (string[])["/v1/models/org/name", "/v1/models/org%2Fname"])
        {
            using var response = await server.Client.GetAsync(path, Cancelled);
            Assert.True(response.IsSuccessStatusCode, $"{path}: {response.StatusCode}");
        }
        using var text = new StringContent("Once upon a time");
        using var counted = await server.Client.PostAsync("/documents?name=a.txt&model=org%2Fname", text, Cancelled);
        Assert.Equal(HttpStatusCode.OK, counted.StatusCode);
        foreach (var query in (string[])["model=other", "names=a.txt"])
        {
            using var again = new StringContent("Once upon a time");
            using var refused = await server.Client.PostAsync($"/documents?name=a.txt&{query}", again, Cancelled);
            Assert.Equal(query[0] == 'm' ? "model" : "names", (await Error(refused)).GetProperty("param").GetString());
        }
    }

    [Fact]
    public async Task Request_without_the_name_of_the_host_is_answered()
    {
        await using var server = await RunningServer.Start();
        foreach (
            var (request, status) in ((string, string)[])
                [
                    ("GET /health HTTP/1.0\r\n\r\n", "200"),
                    ("GET /health HTTP/1.1\r\nHost: 127.0.0.9\r\nConnection: close\r\n\r\n", "200"),
                    ("GET /health HTTP/1.1\r\nHost: 10.0.0.9\r\nConnection: close\r\n\r\n", "403"),
                ]
        )
        {
            using var client = new System.Net.Sockets.TcpClient();
            await client.ConnectAsync(server.Address.Host, server.Address.Port, Cancelled);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(request), Cancelled);
            using var reader = new StreamReader(client.GetStream());
            Assert.Contains($" {status} ", await reader.ReadLineAsync(Cancelled));
        }
    }

    [Theory]
    [InlineData("https://chat.example/")]
    [InlineData("chat.example")]
    [InlineData("https://Chat.example")]
    [InlineData("https://chat.example:443")]
    public void Origin_that_no_browser_sends_is_refused(string origin)
    {
        var wrong = Assert.Throws<ConfigurationException>(() => new ServerOptions { AllowedOrigins = [origin] }.Validate());
        Assert.Contains(origin, wrong.Message);
        new ServerOptions
        {
            AllowedOrigins = ["*", "null", "https://chat.example", "http://localhost:3000", "http://[::1]:3000"],
        }.Validate();
    }

    [Fact]
    public async Task Head_is_answered_like_get_without_a_body()
    {
        await using var server = await RunningServer.Start();
        string[] paths = ["/health", "/v1/models", "/v1/models/stories260K-hf", "/version", "/openapi.json", "/", "/page.js"];
        foreach (var path in paths)
        {
            using var request = new HttpRequestMessage(HttpMethod.Head, path);
            using var response = await server.Client.SendAsync(request, Cancelled);
            Assert.True(response.IsSuccessStatusCode, $"{path}: {response.StatusCode}");
            Assert.Empty(await response.Content.ReadAsByteArrayAsync(Cancelled));
        }
        using var wrong = new HttpRequestMessage(HttpMethod.Head, "/v1/completions");
        Assert.Equal(405, (int)(await server.Client.SendAsync(wrong, Cancelled)).StatusCode);
    }

    [Theory]
    [InlineData("Bearer secret", 200)]
    [InlineData("bearer secret", 200)]
    [InlineData("BEARER secret", 200)]
    [InlineData("Basic secret", 401)]
    [InlineData("secret", 401)]
    [InlineData("Bearer Secret", 401)]
    [InlineData("Bearer", 401)]
    public async Task Key_is_checked_and_the_scheme_has_no_case(string header, int status)
    {
        await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" });
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
        request.Headers.TryAddWithoutValidation("Authorization", header);
        Assert.Equal(status, (int)(await server.Client.SendAsync(request, Cancelled)).StatusCode);
    }

    [Fact]
    public async Task Document_is_uploaded_as_a_form()
    {
        await using var server = await RunningServer.Start();
        using var form = new MultipartFormDataContent { { Bytes("# Title\n\nText."u8.ToArray(), "text/markdown"), "file", "a.md" } };
        using var response = await server.Client.PostAsync("/documents", form, Cancelled);
        var body = JsonElement.Parse(await response.Content.ReadAsStringAsync(Cancelled));
        Assert.Equal("a.md", body.GetProperty("name").GetString());
        Assert.Contains("Text.", body.GetProperty("text").GetString(), StringComparison.Ordinal);
        using var two = new MultipartFormDataContent { { Bytes([65]), "file", "a.txt" }, { Bytes([66]), "file", "b.txt" } };
        using var refused = await server.Client.PostAsync("/documents", two, Cancelled);
        Assert.Equal(400, (int)refused.StatusCode);
        Assert.Contains("2 files", (await Error(refused)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using var broken = Bytes([1, 2], "multipart/form-data");
        Assert.Equal(400, (int)(await server.Client.PostAsync("/documents", broken, Cancelled)).StatusCode);
    }

    // curl --data-binary says that any body is a form of fields.
    [Theory]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("application/octet-stream")]
    [InlineData("text/plain; charset=utf-8")]
    public async Task Document_is_the_body_whatever_its_type_says(string type)
    {
        await using var server = await RunningServer.Start();
        using var sent = Bytes("a=1&b=%20\n\nText."u8.ToArray());
        sent.Headers.ContentType = System.Net.Http.Headers.MediaTypeHeaderValue.Parse(type);
        using var response = await server.Client.PostAsync("/documents?name=a.txt", sent, Cancelled);
        Assert.Equal(200, (int)response.StatusCode);
        var body = JsonElement.Parse(await response.Content.ReadAsStringAsync(Cancelled));
        Assert.Equal("a=1&b=%20\n\nText.", body.GetProperty("text").GetString()!.Trim());
        using var nameless = await server.Client.PostAsync("/documents", sent, Cancelled);
        Assert.Contains("?name=", (await Error(nameless)).GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("https://app.example", "https://app.example")]
    [InlineData("*", "*")]
    public async Task Page_of_an_allowed_origin_can_use_any_header_and_read_errors(string allowed, string expected)
    {
        await using var server = await RunningServer.Start(o => o with { AllowedOrigins = [allowed], ApiKey = "secret" });
        async Task<HttpResponseMessage> Send(HttpMethod method, string path, params (string, string)[] headers)
        {
            using var request = new HttpRequestMessage(method, path);
            if (method == HttpMethod.Post)
                request.Content = Bytes("{}"u8.ToArray());
            request.Headers.Add("Origin", "https://app.example");
            foreach (var (name, value) in headers)
                request.Headers.TryAddWithoutValidation(name, value);
            return await server.Client.SendAsync(request, Cancelled);
        }
        const string Asked = "authorization, content-type, x-stainless-arch, x-stainless-something-new";
        using var asked = await Send(
            HttpMethod.Options,
            "/v1/chat/completions",
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", Asked)
        );
        Assert.Equal(204, (int)asked.StatusCode);
        Assert.Equal(Asked, string.Join(", ", asked.Headers.GetValues("Access-Control-Allow-Headers")));
        Assert.Contains("POST", string.Join(", ", asked.Headers.GetValues("Access-Control-Allow-Methods")), StringComparison.Ordinal);
        (string, string) key = ("Authorization", "Bearer secret");
        foreach (
            var (response, status) in new[]
            {
                (await Send(HttpMethod.Get, "/v1/models"), 401),
                (await Send(HttpMethod.Get, "/v1/models", key), 200),
                (await Send(HttpMethod.Post, "/v1/chat/completions", key), 400),
                (await Send(HttpMethod.Get, "/v1/nothing", key), 404),
                (await Send(HttpMethod.Get, "/v1/completions", key), 405),
            }
        )
        {
            Assert.Equal(
                (status, expected),
                ((int)response.StatusCode, string.Join(",", response.Headers.GetValues("Access-Control-Allow-Origin")))
            );
            response.Dispose();
        }
    }

    [Theory]
    [InlineData("127.0.0.1", "chat.example", "https", "https://chat.example", 200)]
    [InlineData("127.0.0.1", "chat.example", "http", "https://chat.example", 403)] // the page came by another scheme
    [InlineData("127.0.0.1", "chat.example", "https", "https://evil.example", 403)]
    [InlineData("chat.example", null, "https", "https://chat.example", 200)] // by --allow-host
    [InlineData("evil.example", "localhost", "https", "https://localhost", 403)] // a page that claims to be a proxy
    public async Task Own_page_behind_a_proxy_may_use_the_server(
        string host,
        string? forwardedHost,
        string scheme,
        string origin,
        int status
    )
    {
        await using var server = await RunningServer.Start(o => o with { AllowedHosts = ["chat.example"] });
        using var request = new HttpRequestMessage(HttpMethod.Get, "/openapi.json");
        request.Headers.Host = host;
        if (forwardedHost is not null)
            request.Headers.Add("X-Forwarded-Host", forwardedHost);
        request.Headers.Add("X-Forwarded-Proto", scheme);
        request.Headers.Add("Origin", origin);
        using var response = await server.Client.SendAsync(request, Cancelled);
        Assert.Equal(status, (int)response.StatusCode);
        if (status == 200)
            Assert.Contains(
                "\"url\":\"https://chat.example\"",
                await response.Content.ReadAsStringAsync(Cancelled),
                StringComparison.Ordinal
            );
    }

    [Theory]
    [InlineData("pem")]
    [InlineData("pem and key")]
    [InlineData("pfx")]
    public async Task Certificate_gives_https(string kind)
    {
        var folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;
        using var key = RSA.Create(2048);
        var asked = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using var made = asked.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var (file, keyFile) = (Path.Combine(folder, "c"), kind == "pem and key" ? Path.Combine(folder, "k") : null);
        if (kind == "pfx")
            await File.WriteAllBytesAsync(file, made.Export(X509ContentType.Pfx, "word"), Cancelled);
        else
            await File.WriteAllTextAsync(
                file,
                made.ExportCertificatePem() + "\n" + (keyFile is null ? key.ExportPkcs8PrivateKeyPem() : ""),
                Cancelled
            );
        if (keyFile is not null)
            await File.WriteAllTextAsync(keyFile, key.ExportPkcs8PrivateKeyPem(), Cancelled);
        await using (
            var server = await RunningServer.Start(o =>
                o with
                {
                    CertificateFile = file,
                    CertificateKeyFile = keyFile,
                    CertificatePassword = kind == "pfx" ? "word" : null,
                }
            )
        )
        {
            Assert.Equal("https", server.Address.Scheme);
            using var handler = new HttpClientHandler
            {
                ServerCertificateCustomValidationCallback = (_, seen, _, _) => seen!.Thumbprint == made.Thumbprint,
            };
            using var client = new HttpClient(handler);
            Assert.Contains("ok", await client.GetStringAsync(new Uri(server.Address, "/health"), Cancelled), StringComparison.Ordinal);
        }
        await File.WriteAllTextAsync(file, "nothing", Cancelled);
        var told = await Assert.ThrowsAsync<ConfigurationException>(() => RunningServer.Start(o => o with { CertificateFile = file }));
        Assert.Contains(file, told.Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public async Task Server_listens_before_its_model_is_loaded()
    {
        var models = new ServedModels();
        await using var app = ChatServer.Create(new ServerOptions { Port = 0 }, models);
        await app.StartAsync(Cancelled);
        using var client = new HttpClient { BaseAddress = new Uri(app.Urls.First()) };
        Assert.Equal(503, (int)(await client.GetAsync("/health", Cancelled)).StatusCode);
        using var early = await client.PostAsync("/v1/completions", Bytes("{\"prompt\":\"Once\"}"u8.ToArray()), Cancelled);
        Assert.Equal((503, "loading"), ((int)early.StatusCode, (await Error(early)).GetProperty("code").GetString()));
        Assert.True(early.Headers.Contains("Retry-After"));
        using var model = LongLora.Generation.ChatModel.Open(new() { Model = RunningServer.Stories, Device = "cpu" });
        models.Set([model]);
        Assert.Equal(200, (int)(await client.GetAsync("/health", Cancelled)).StatusCode);
        using var late = await client.PostAsync("/v1/completions", Bytes("{\"prompt\":\"Once\"}"u8.ToArray()), Cancelled);
        Assert.Equal(200, (int)late.StatusCode);
        await app.StopAsync(Cancelled);
    }

    [Theory]
    [InlineData("my-host", 0)] // the host would listen on every address
    [InlineData("localhost", 0)]
    [InlineData("127.0.0.1", 70000)]
    public void Address_that_cannot_be_meant_is_refused(string host, int port) =>
        Assert.Throws<ConfigurationException>(() => new ServerOptions { Host = host, Port = port }.Validate());
}
