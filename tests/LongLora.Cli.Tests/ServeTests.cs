using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace LongLora.Cli.Tests;

public class ServeTests(FinishedRun finished) : CliRun, IClassFixture<FinishedRun>
{
    [Fact]
    public void Port_in_use_is_one_sentence_and_comes_before_the_model_is_read()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = $"{((IPEndPoint)taken.LocalEndpoint).Port}";
        var (code, output, error) = Run("serve", "--model", Stories, "--port", port);
        Assert.Equal((ExitCode.Usage, ""), (code, output));
        Assert.Equal(
            $"Cannot listen on 127.0.0.1:{port} because the port is in use. Choose another --port, or 0 for any that is free.",
            error.Trim()
        );
    }

    [Fact]
    public async Task Adapters_are_served_beside_the_model_by_name()
    {
        finished.CopyTo(At("run"));
        int port;
        using (var free = new TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            port = ((IPEndPoint)free.LocalEndpoint).Port;
        }
        using var stop = new CancellationTokenSource();
        string[] arguments = ["serve", "--model", Stories, "--port", $"{port}", "--host", "0.0.0.0", "--served-model-name", "base"];
        var serving = Task.Run(() => Run(stop.Token, [.. arguments, "--adapter", $"tuned={At("run", "adapter")}"]));
        using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        var cancellation = TestContext.Current.CancellationToken;
        for (var isReady = false; !isReady && !serving.IsCompleted; await Task.Delay(50, cancellation))
        {
            try
            {
                using var health = await client.GetAsync("/health", cancellation);
                isReady = health.StatusCode == HttpStatusCode.OK;
            }
            catch (HttpRequestException)
            {
                // not listening yet
            }
        }
        Assert.False(serving.IsCompleted, serving.IsCompleted ? (await serving).Error : "");
        var models = JsonElement.Parse(await client.GetStringAsync("/v1/models", cancellation)).GetProperty("data");
        Assert.Equal(["base", "tuned"], models.EnumerateArray().Select(m => m.GetProperty("id").GetString()));
        var texts = new List<string>();
        foreach (var model in (string[])["base", "tuned"])
        {
            using var content = new StringContent(
                $$"""{"model":"{{model}}","prompt":"Once upon a time","max_tokens":8,"logprobs":0}""",
                System.Text.Encoding.UTF8,
                "application/json"
            );
            using var response = await client.PostAsync("/v1/completions", content, cancellation);
            var body = JsonElement.Parse(await response.Content.ReadAsStringAsync(cancellation));
            Assert.Equal(model, body.GetProperty("model").GetString());
            texts.Add(body.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("token_logprobs").ToString());
        }
        Assert.NotEqual(texts[0], texts[1]);
        await stop.CancelAsync();
        var (_, output, error) = await serving;
        Assert.Contains("tuned, ", output, StringComparison.Ordinal);
        Assert.Contains("has no key. Set the variable LONGLORA_API_KEY.", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("NAME=DIR", "--adapter", "one", "--adapter", "two")]
    [InlineData("'a'", "--adapter", "a=one", "--adapter", "a=two")]
    [InlineData("'a'", "--served-model-name", "a", "--adapter", "a=two")]
    public void Adapters_without_a_name_of_their_own_are_refused(string told, params string[] arguments) =>
        Fail(ExitCode.Usage, [told], ["serve", "--model", Stories, "--port", "0", .. arguments]);

    [Fact]
    public void Sample_reports_its_seed_which_repeats_it()
    {
        string[] asked = ["generate", "--model", Stories, "--prompt", "Once upon a time", "--max-tokens", "60", "--temperature", "2"];
        // At a lower temperature two stories of this model are equal now and then.
        var (_, first, error) = Run(asked);
        var (_, second, _) = Run(asked);
        Assert.NotEqual(first, second);
        var seed = Regex.Match(error, @"; seed (\d+)").Groups[1].Value;
        Assert.Equal(first, Succeed([.. asked, "--seed", seed]));
        var (_, _, greedy) = Run(asked[..^2]);
        Assert.DoesNotContain("seed", greedy, StringComparison.Ordinal);
    }
}
