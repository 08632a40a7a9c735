using System.Diagnostics;
using LongLora.Generation;

namespace LongLora.Server.Tests;

/// <summary>OpenAI's own JavaScript client, installed for the test.</summary>
public class NpmClientTests
{
    private const string Script = """
        import OpenAI from "openai";
        const client = new OpenAI({ baseURL: process.argv[2] + "v1", apiKey: "secret" });
        const messages = [{ role: "user", content: "Tell me of a dog." }];
        const model = (await client.models.list()).data[0].id;
        const said = {};
        const chat = await client.chat.completions.create({ model, messages, max_tokens: 12, seed: 5, n: 2, temperature: 1 });
        said.choices = chat.choices.length;
        said.chat = (await client.chat.completions.create({ model, messages, max_tokens: 12 })).choices[0].message.content;
        said.stream = "";
        for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 12, stream: true }))
          said.stream += chunk.choices[0]?.delta?.content ?? "";
        said.helper = (await client.chat.completions.stream({ model, messages, max_tokens: 12 }).finalChatCompletion()).choices[0].message.content;
        said.completion = (await client.completions.create({ model, prompt: "Once upon a time", max_tokens: 12 })).choices[0].text;
        const embedding = (await client.embeddings.create({ model, input: ["The dog"] })).data[0].embedding;
        said.embedding = embedding.length;
        said.first = embedding[0];
        said.response = (await client.responses.create({ model, input: "Tell me of a dog.", max_output_tokens: 12 })).output_text;
        said.responseStream = "";
        for await (const event of await client.responses.create({ model, input: "Tell me of a dog.", max_output_tokens: 12, stream: true }))
          if (event.type === "response.output_text.delta") said.responseStream += event.delta;
        said.responseHelper = (await client.responses.stream({ model, input: "Tell me of a dog.", max_output_tokens: 12 }).finalResponse()).output_text;
        try {
          await client.chat.completions.create({ model, messages, temperatur: 1 });
        } catch (error) {
          said.error = [error.status, error.param, error.code];
        }
        console.log(JSON.stringify(said));
        """;

    [Fact]
    public async Task Openai_package_gets_the_answers_of_the_model()
    {
        var folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;
        try
        {
            Assert.SkipWhen(await Run(folder, "npm", "--version") is null, "There is no npm here.");
            await File.WriteAllTextAsync(
                Path.Combine(folder, "package.json"),
                "{\"type\":\"module\"}",
                TestContext.Current.CancellationToken
            );
            var installed = await Run(folder, "npm", "install", "openai", "--ignore-scripts", "--no-audit", "--no-fund");
            Assert.SkipWhen(installed is null, "npm cannot install openai here: there is no registry.");
            await File.WriteAllTextAsync(Path.Combine(folder, "ask.js"), Script, TestContext.Current.CancellationToken);
            await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" });
            var output = await Run(folder, "node", "ask.js", server.Address.ToString());
            Assert.NotNull(output);
            var said = System.Text.Json.JsonElement.Parse(output);
            var chat = await server.Model.AnswerAsync([new("user", "Tell me of a dog.")], new() { MaxTokens = 12 }).WholeAsync();
            var completion = await server.Model.CompleteAsync("Once upon a time", new() { MaxTokens = 12 }).WholeAsync();
            string[] same = ["chat", "stream", "helper", "response", "responseStream", "responseHelper"];
            Assert.All(same, name => Assert.Equal(chat.Text, said.GetProperty(name).GetString()));
            Assert.Equal(completion.Text, said.GetProperty("completion").GetString());
            var vector = await server.Model.EmbedTokensAsync(
                server.Model.Tokenizer.Encode("The dog", addSpecial: true),
                TestContext.Current.CancellationToken
            );
            Assert.Equal((2, vector.Length), (said.GetProperty("choices").GetInt32(), said.GetProperty("embedding").GetInt32()));
            Assert.Equal(vector[0], said.GetProperty("first").GetSingle());
            Assert.Equal("[400,\"temperatur\",\"unknown_parameter\"]", said.GetProperty("error").ToString());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // What a program writes; null if it is not there or fails.
    private static async Task<string?> Run(string folder, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using var process = Process.Start(start)!;
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(3));
            var (output, errors) = (process.StandardOutput.ReadToEndAsync(limit.Token), process.StandardError.ReadToEndAsync(limit.Token));
            try
            {
                await process.WaitForExitAsync(limit.Token);
                if (process.ExitCode != 0)
                    TestContext.Current.TestOutputHelper?.WriteLine($"{program} {string.Join(' ', arguments)}: {await errors}");
                return process.ExitCode == 0 ? await output : null;
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                return null;
            }
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
