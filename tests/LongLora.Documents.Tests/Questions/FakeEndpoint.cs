using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace LongLora.Documents.Tests.Questions;

/// <summary>A chat service on this machine that answers as it is told to.</summary>
internal sealed class FakeEndpoint : IDisposable
{
    private readonly HttpListener _listener = new();
    private readonly Func<int, JsonElement, (int Status, string Text)> _answer;
    private int _requests;

    /// <param name="answer">
    /// From the number of the request (0, 1, ...) and its body to a status and the text of the reply, or the body of an error.
    /// </param>
    public FakeEndpoint(Func<int, JsonElement, (int Status, string Text)> answer)
    {
        _answer = answer;
        var port = FreePort();
        _listener.Prefixes.Add($"http://127.0.0.1:{port}/");
        _listener.Start();
        Address = new Uri($"http://127.0.0.1:{port}/v1");
        _ = Task.Run(ServeAsync);
    }

    public Uri Address { get; }

    public int Requests => _requests;

    public List<string> Paths { get; } = [];

    public List<string?> Keys { get; } = [];

    private static int FreePort()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    private async Task ServeAsync()
    {
        while (_listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
            using var body = await JsonDocument.ParseAsync(context.Request.InputStream);
            (int Status, string Text) reply;
            lock (Paths)
            {
                Paths.Add(context.Request.Url!.AbsolutePath);
                Keys.Add(context.Request.Headers["Authorization"]);
                reply = _answer(_requests++, body.RootElement);
            }
            context.Response.StatusCode = reply.Status;
            if (reply.Status == 429)
                context.Response.Headers["Retry-After"] = "0";
            var text =
                reply.Status == 200
                    ? JsonSerializer.Serialize(
                        new { choices = new[] { new { message = new { role = "assistant", content = reply.Text } } } }
                    )
                    : reply.Text;
            await context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(text));
            context.Response.Close();
        }
    }

    public void Dispose() => _listener.Close();
}
