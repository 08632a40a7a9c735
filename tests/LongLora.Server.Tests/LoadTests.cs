using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Generation;

namespace LongLora.Server.Tests;

/// <summary>Many clients at once; in a collection of its own, because it counts the tensors of the process.</summary>
[CollectionDefinition(nameof(LoadTests), DisableParallelization = true)]
[Collection(nameof(LoadTests))]
public class LoadTests
{
    [Fact]
    public async Task Fifty_clients_some_of_whom_leave_or_send_rubbish_leave_nothing_behind()
    {
        await using var server = await RunningServer.Start(o => o with { Queue = 60 });
        string[] questions = ["Tell me of a dog.", "Tell me of a cat.", "What is red?", "Who is Lily?", "Sing."];
        var expected = new Dictionary<string, string>();
        foreach (var question in questions)
        {
            var answer = server.Model.AnswerAsync([new("user", question)], new GenerationOptions { MaxTokens = 24 });
            expected.Add(question, (await answer.WholeAsync(TestContext.Current.CancellationToken)).Text);
        }
        await Round();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        var before = TorchSharp.torch.Tensor.TotalCount;
        for (var round = 0; round < 3; round++)
            await Round();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.InRange(TorchSharp.torch.Tensor.TotalCount, 0, before + 50); // caches of conversations come and go
        Assert.Equal(200, (await server.Ask("Hi")).Status);
        var metrics = await server.Client.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        var cancelled = Regex.Match(metrics, @"^longlora_answers_cancelled_total\S* (?<count>\d+)", RegexOptions.Multiline);
        Assert.InRange(int.Parse(cancelled.Groups["count"].Value, CultureInfo.InvariantCulture), 20, 40); // of 4 rounds of 10 who leave

        async Task Round() =>
            await Task.WhenAll(
                Enumerable
                    .Range(0, 50)
                    .Select(i =>
                        (i % 5) switch
                        {
                            3 => Leave(questions[i / 5 % 5]),
                            4 => Rubbish(i),
                            _ => Answer(questions[i % 5]),
                        }
                    )
            );

        async Task Answer(string question)
        {
            var (status, body) = await server.Ask(question);
            Assert.Equal(200, status);
            Assert.Equal(expected[question], body.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        }

        async Task Leave(string question)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions")
            {
                Content = new StringContent(
                    $$"""{"stream":true,"max_tokens":400,"messages":[{"role":"user","content":{{JsonSerializer.Serialize(question)}}}]}""",
                    System.Text.Encoding.UTF8,
                    "application/json"
                ),
            };
            using var response = await server.Client.SendAsync(
                request,
                HttpCompletionOption.ResponseHeadersRead,
                TestContext.Current.CancellationToken
            );
            Assert.Equal(200, (int)response.StatusCode);
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
            for (var line = 0; line < 4; line++)
                await reader.ReadLineAsync(TestContext.Current.CancellationToken);
        }

        async Task Rubbish(int i) =>
            Assert.Equal(
                400,
                (await server.Post("/v1/chat/completions", RequestTests.Wrong.ElementAt(i % RequestTests.Wrong.Count).Data.Item1)).Status
            );
    }

    [Fact]
    public async Task Full_queue_sends_clients_away_and_one_who_leaves_makes_room()
    {
        await using var server = await RunningServer.Start(o => o with { Queue = 0 });
        using var leaving = new CancellationTokenSource();
        using var content = new StringContent(
            "{\"max_tokens\":480,\"temperature\":1,\"stop\":[\"§\"],\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":true}",
            System.Text.Encoding.UTF8,
            "application/json"
        );
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = content };
        using (var first = await server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, leaving.Token))
        {
            var (status, body) = await server.Ask("Hi");
            if (status != 200) // the first may be done already
                Assert.Equal((429, "queue_full"), (status, body.GetProperty("error").GetProperty("code").GetString()));
        }
        for (var i = 0; ; i++)
        {
            if ((await server.Ask("Hi")).Status == 200)
                break;
            Assert.True(i < 200, "the place of a client who left is not free");
            await Task.Delay(25, TestContext.Current.CancellationToken);
        }
        var metrics = await server.Client.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        Assert.Contains("longlora_tokens_generated", metrics, StringComparison.Ordinal);
    }
}
