using System.Text.Json;
using LongLora.Documents.Questions;
using LongLora.Runtime;

namespace LongLora.Documents.Tests.Questions;

public class QuestionBuilderTests : TemporaryFolder
{
    private QuestionOptions Options(Uri? endpoint = null) =>
        new()
        {
            Data = [At("in")],
            Output = At("qa.json"),
            Endpoint = endpoint,
            ChunkCharacters = 500,
            FirstDelay = TimeSpan.FromMilliseconds(1),
        };

    public QuestionBuilderTests()
    {
        for (var i = 0; i < 3; i++)
            Write($"in/{i}.txt", string.Concat(Enumerable.Range(0, 40).Select(n => $"Fact {n} of text {i} is here.\n\n")));
    }

    private static string TextOf(JsonElement request) => request.GetProperty("messages")[1].GetProperty("content").GetString()!;

    private static (int, string) Answer(JsonElement request)
    {
        var fact = TextOf(request).Split("\n\n")[1];
        return (200, JsonSerializer.Serialize(new { question = $"What is said first? ({fact})", answer = $"That {fact}" }));
    }

    private JsonElement[] Written() => [.. JsonDocument.Parse(File.ReadAllText(At("qa.json"))).RootElement.EnumerateArray()];

    [Fact]
    public async Task BuildAsync_asks_about_every_piece_and_writes_Alpaca_in_the_order_of_the_documents()
    {
        using var service = new FakeEndpoint((_, request) => Answer(request));
        var report = await QuestionBuilder.BuildAsync(
            Options(service.Address) with
            {
                ApiKey = "secret",
                Model = "m",
                Kind = MaterialKind.Paper,
            }
        );
        var written = Written();
        Assert.Equal((report.Prompts, report.Prompts, report.Prompts), (report.Answered, report.Asked, written.Length));
        Assert.True(report.Prompts >= 6, $"{report.Prompts} prompts");
        Assert.Equal(["summarise", "find", "compare", "why"], written.Take(4).Select(w => w.GetProperty("task").GetString()));
        Assert.Equal(
            written.Select(w => w.GetProperty("source").GetString()).Order(StringComparer.Ordinal),
            written.Select(w => w.GetProperty("source").GetString())
        );
        var instruction = written[0].GetProperty("instruction").GetString()!;
        Assert.StartsWith(
            "Below is a paper. Memorize the material and answer my question after the paper.\n Fact 0 of text 0 is here.",
            instruction,
            StringComparison.Ordinal
        );
        Assert.EndsWith(
            " \n Now the material ends. What is said first? (Fact 0 of text 0 is here.)",
            instruction,
            StringComparison.Ordinal
        );
        Assert.Equal("That Fact 0 of text 0 is here.", written[0].GetProperty("output").GetString());
        Assert.All(service.Paths, p => Assert.Equal("/v1/chat/completions", p));
        Assert.All(service.Keys, k => Assert.Equal("Bearer secret", k));
        Assert.DoesNotContain("secret", string.Concat(Directory.EnumerateFiles(Root).Select(File.ReadAllText)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task BuildAsync_asks_again_after_failures_and_answers_of_another_form()
    {
        using var service = new FakeEndpoint(
            (n, request) =>
                n switch
                {
                    0 => (503, "starting"),
                    1 => (429, "slow down"),
                    2 => (200, "I would rather not."),
                    _ => Answer(request),
                }
        );
        var report = await QuestionBuilder.BuildAsync(Options(service.Address) with { Limit = 2, Parallel = 1 });
        Assert.Equal((2, 2, 5), (report.Prompts, report.Answered, service.Requests));
    }

    [Fact]
    public async Task BuildAsync_stopped_and_run_again_asks_only_for_what_is_missing()
    {
        using var stop = new CancellationTokenSource();
        using (
            var service = new FakeEndpoint(
                (n, request) =>
                {
                    if (n == 3)
                        stop.Cancel();
                    return Answer(request);
                }
            )
        )
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
                QuestionBuilder.BuildAsync(Options(service.Address) with { Parallel = 1 }, null, stop.Token)
            );
        Assert.False(File.Exists(At("qa.json")));
        // What a killed process leaves: half a line.
        File.AppendAllText(At("qa.json.answers.jsonl"), "{\"id\":\"abc");
        using var again = new FakeEndpoint((_, request) => Answer(request));
        var report = await QuestionBuilder.BuildAsync(Options(again.Address));
        Assert.InRange(report.Asked, report.Prompts - 4, report.Prompts - 3);
        Assert.Equal((report.Asked, report.Prompts), (again.Requests, Written().Length));
        var whole = File.ReadAllText(At("qa.json"));
        Assert.Equal(0, (await QuestionBuilder.BuildAsync(Options(again.Address))).Asked);
        Assert.Equal(whole, File.ReadAllText(At("qa.json")));
    }

    [Fact]
    public async Task BuildAsync_refusals_are_told_at_once_with_the_words_of_the_service()
    {
        using var service = new FakeEndpoint((_, _) => (401, "{\"error\":\"no such key\"}"));
        var error = await Assert.ThrowsAsync<ConfigurationException>(() =>
            QuestionBuilder.BuildAsync(Options(service.Address) with { Parallel = 1 })
        );
        Assert.Contains("401", error.Message, StringComparison.Ordinal);
        Assert.Contains("no such key", error.Message, StringComparison.Ordinal);
        Assert.Equal(1, service.Requests);
        var nobody = await Assert.ThrowsAsync<ConfigurationException>(() =>
            QuestionBuilder.BuildAsync(Options(new Uri("http://127.0.0.1:9/v1")) with { Parallel = 1, Retries = 1 })
        );
        Assert.Contains("cannot reach the service", nobody.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task BuildAsync_without_an_endpoint_writes_prompts_whose_results_are_taken()
    {
        var options = Options() with { Output = At("prompts.jsonl") };
        var prompts = await QuestionBuilder.BuildAsync(options);
        var lines = File.ReadLines(At("prompts.jsonl")).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        Assert.Equal(prompts.Prompts, lines.Count);
        Assert.Equal("/v1/chat/completions", lines[0].GetProperty("url").GetString());
        Assert.Contains("Fact 0 of text 0", TextOf(lines[0].GetProperty("body")), StringComparison.Ordinal);
        File.WriteAllLines(
            At("results.jsonl"),
            lines
                .Skip(1)
                .Select(l =>
                    JsonSerializer.Serialize(
                        new
                        {
                            custom_id = l.GetProperty("custom_id").GetString(),
                            response = new
                            {
                                status_code = 200,
                                body = new { choices = new[] { new { message = new { content = Answer(l.GetProperty("body")).Item2 } } } },
                            },
                        }
                    )
                )
        );
        var report = QuestionBuilder.TakeBatch(Options(), At("results.jsonl"));
        Assert.Equal((lines.Count, lines.Count - 1), (report.Prompts, report.Answered));
        Assert.Equal(report.Answered, Written().Length);
        Write("bad.jsonl", "{\"custom_id\":\"a\",\"response\":null}\n{\"id\":1}\n");
        Assert.Contains(
            "bad.jsonl:2",
            Assert.Throws<DataException>(() => QuestionBuilder.TakeBatch(Options(), At("bad.jsonl"))).Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("{\"question\":\"Q?\",\"answer\":\"A.\"}", true)]
    [InlineData("```json\n{ \"question\": \"Q?\", \"answer\": \"A.\", }\n```", true)]
    [InlineData(
        "<think>{\"question\":\"no\",\"answer\":\"no\"}</think>Here: {\"question\":\"Q?\",\"answer\":\"A.\"} I hope it helps {smile}.",
        true
    )]
    [InlineData("{\"question\":\"Q?\",\"answer\":\"\"}", false)]
    [InlineData("{\"question\":\"Q?\"}", false)]
    [InlineData("Question: Q? Answer: A.", false)]
    public void Parse_finds_the_pair_in_a_reply(string reply, bool isPair) =>
        Assert.Equal(isPair ? new QuestionAnswer("Q?", "A.") : null, QuestionAnswer.Parse(reply));

    [Fact]
    public void Cut_pieces_put_together_are_the_text_and_end_where_a_paragraph_does()
    {
        var text = string.Concat(Enumerable.Range(0, 100).Select(i => $"Paragraph {i} has one sentence. And another.\n\n"));
        var pieces = QuestionPrompt.Cut(new StringReader(text), 700).ToList();
        Assert.All(pieces, p => Assert.InRange(p.Length, 175, 700));
        Assert.All(pieces, p => Assert.EndsWith("And another.", p, StringComparison.Ordinal));
        Assert.StartsWith(string.Join("\n\n", pieces), text, StringComparison.Ordinal);
        Assert.Equal(["short"], QuestionPrompt.Cut(new StringReader("short"), 700));
        Assert.Equal(2000, QuestionPrompt.Cut(new StringReader(new string('x', 2000)), 500).Sum(p => p.Length));
    }
}
