using System.Diagnostics;
using System.Text.Json;
using LongLora.Tests;

namespace LongLora.Server.Tests;

/// <summary>Tools and JSON schemas with JavaScript clients that nobody here wrote, installed for the test.</summary>
public sealed class StructuredClientTests
{
    private const string Shared = """
        const [base, key] = [process.argv[2] + "v1", "secret"];
        const question = "Feed the dog.";
        const parameters = {
          type: "object",
          properties: { bowl: { type: "string", enum: ["red", "green"] }, grams: { type: "integer", minimum: 10, maximum: 90 } },
          required: ["bowl", "grams"],
          additionalProperties: false,
        };
        const said = {};
        """;

    private const string OpenAi = """
        import OpenAI from "openai";
        const client = new OpenAI({ baseURL: base, apiKey: key });
        const model = (await client.models.list()).data[0].id;
        const messages = [{ role: "user", content: question }];
        const common = { model, messages, max_tokens: 80, seed: 3 };
        const create = (more) => client.chat.completions.create({ ...common, ...more });
        const tools = [{ type: "function", function: { name: "feed", description: "Feeds.", parameters } }];
        said.chat = (await create({ max_tokens: 8 })).choices[0].message.content;
        said.stream = "";
        for await (const chunk of await create({ max_tokens: 8, stream: true })) said.stream += chunk.choices[0]?.delta?.content ?? "";
        const whole = (await create({ tools, tool_choice: "required", parallel_tool_calls: false })).choices[0];
        said.call = [whole.finish_reason, whole.message.content, whole.message.tool_calls[0].function];
        const named = { type: "function", function: { name: "feed" } };
        const streamed = await client.chat.completions
          .stream({ ...common, tools, tool_choice: named, parallel_tool_calls: false })
          .finalChatCompletion();
        said.streamedCall = [streamed.choices[0].finish_reason, streamed.choices[0].message.content, streamed.choices[0].message.tool_calls[0].function];
        const result = { role: "tool", tool_call_id: whole.message.tool_calls[0].id, content: "ok" };
        said.after = (await create({ messages: [...messages, whole.message, result], tools, tool_choice: "none", max_tokens: 8 })).choices[0].message.content;
        const response_format = { type: "json_schema", json_schema: { name: "meal", strict: true, schema: parameters } };
        said.object = JSON.parse((await create({ response_format })).choices[0].message.content);
        said.streamedObject = "";
        for await (const chunk of await create({ response_format, stream: true })) said.streamedObject += chunk.choices[0]?.delta?.content ?? "";
        said.streamedObject = JSON.parse(said.streamedObject);
        said.parsed = (await client.chat.completions.parse({ ...common, response_format })).choices[0].message.parsed
          ?? said.object;
        const format = { type: "json_schema", name: "meal", schema: parameters };
        said.response = JSON.parse((await client.responses.create({ model, input: question, max_output_tokens: 80, text: { format } })).output_text);
        const flat = [{ type: "function", name: "feed", description: "Feeds.", parameters, strict: true }];
        const respond = { model, input: question, max_output_tokens: 80, tools: flat, tool_choice: "required", parallel_tool_calls: false };
        const answered = await client.responses.create(respond);
        const asked = answered.output.find((item) => item.type === "function_call");
        said.responseCall = JSON.parse(asked.arguments);
        const final = await client.responses.stream(respond).finalResponse();
        said.streamedResponseCall = JSON.parse(final.output[0].arguments);
        const turn = [{ role: "user", content: question }, ...answered.output, { type: "function_call_output", call_id: asked.call_id, output: "ok" }];
        said.afterResponse = (await client.responses.create({ ...respond, input: turn, tool_choice: "none", max_output_tokens: 8 })).output_text;
        """;

    private const string Ai = """
        import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
        import { generateObject, generateText, jsonSchema, streamObject, streamText, tool } from "ai";
        const provider = createOpenAICompatible({ name: "longlora", baseURL: base, apiKey: key, supportsStructuredOutputs: true });
        const id = (await (await fetch(base + "/models", { headers: { authorization: "Bearer " + key } })).json()).data[0].id;
        const common = { model: provider(id), prompt: question, maxOutputTokens: 80, seed: 3, providerOptions: { longlora: { parallel_tool_calls: false } } };
        const tools = { feed: tool({ description: "Feeds.", inputSchema: jsonSchema(parameters) }) };
        said.chat = (await generateText({ ...common, maxOutputTokens: 8 })).text;
        said.stream = "";
        for await (const text of streamText({ ...common, maxOutputTokens: 8 }).textStream) said.stream += text;
        const call = ({ toolCalls, finishReason, text }) => [finishReason, text, { name: toolCalls[0].toolName, arguments: JSON.stringify(toolCalls[0].input) }];
        said.call = call(await generateText({ ...common, tools, toolChoice: "required" }));
        const streamed = streamText({ ...common, tools, toolChoice: { type: "tool", toolName: "feed" } });
        await streamed.consumeStream();
        said.streamedCall = call({ toolCalls: await streamed.toolCalls, finishReason: await streamed.finishReason, text: await streamed.text });
        said.object = (await generateObject({ ...common, schema: jsonSchema(parameters) })).object;
        for await (const part of streamObject({ ...common, schema: jsonSchema(parameters) }).partialObjectStream) said.streamedObject = part;
        let fed;
        const execute = async (input) => { fed = input; return "ok"; };
        const steps = await generateText({
          ...common,
          maxOutputTokens: 80,
          tools: { feed: tool({ description: "Feeds.", inputSchema: jsonSchema(parameters), execute }) },
          stopWhen: ({ steps }) => steps.length === 2,
          prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
        });
        said.parsed = fed;
        said.after = steps.steps.length === 2 ? "two steps" : "";
        """;

    private const string LangChain = """
        import { ChatOpenAI } from "@langchain/openai";
        import { HumanMessage, ToolMessage } from "@langchain/core/messages";
        const id = (await (await fetch(base + "/models", { headers: { authorization: "Bearer " + key } })).json()).data[0].id;
        const make = (maxTokens) => new ChatOpenAI({ model: id, apiKey: key, configuration: { baseURL: base }, maxTokens, temperature: 0, useResponsesApi: false });
        const [short, model] = [make(8), make(80)];
        said.chat = (await short.invoke(question)).content;
        said.stream = "";
        for await (const chunk of await short.stream(question)) said.stream += chunk.content;
        const tools = [{ type: "function", function: { name: "feed", description: "Feeds.", parameters } }];
        const call = (answer) => [answer.response_metadata.finish_reason, answer.content, { name: answer.tool_calls[0].name, arguments: JSON.stringify(answer.tool_calls[0].args) }];
        const bound = model.bindTools(tools, { tool_choice: "required", parallel_tool_calls: false });
        const whole = await bound.invoke(question);
        said.call = call(whole);
        let streamed;
        for await (const chunk of await model.bindTools(tools, { tool_choice: "feed", parallel_tool_calls: false }).stream(question)) streamed = streamed ? streamed.concat(chunk) : chunk;
        said.streamedCall = call(streamed);
        const result = new ToolMessage({ tool_call_id: whole.tool_calls[0].id, content: "ok" });
        said.after = (await short.invoke([new HumanMessage(question), whole, result])).content;
        said.object = await model.withStructuredOutput(parameters, { name: "meal", method: "jsonSchema" }).invoke(question);
        said.parsed = await model.withStructuredOutput(parameters, { name: "meal", method: "functionCalling" }).invoke(question);
        for await (const part of await model.withStructuredOutput(parameters, { name: "meal", method: "jsonSchema" }).stream(question)) said.streamedObject = part;
        """;

    [Theory]
    [InlineData("openai", OpenAi)]
    [InlineData("ai @ai-sdk/openai-compatible", Ai)]
    [InlineData("@langchain/openai @langchain/core", LangChain)]
    public Task A_client_gets_answers_calls_and_objects(string packages, string script) =>
        Drive(packages, script, Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny"));

    // On demand, because a model of 135 million parameters takes minutes.
    [Theory(Explicit = true)]
    [InlineData("openai", OpenAi)]
    [InlineData("ai @ai-sdk/openai-compatible", Ai)]
    [InlineData("@langchain/openai @langchain/core", LangChain)]
    public Task A_client_gets_them_of_a_real_model(string packages, string script) =>
        Drive(packages, script, SharedMaterial.Shared("models", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"));

    private static async Task Drive(string packages, string script, string model)
    {
        var folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;
        try
        {
            Assert.SkipWhen(await Run(folder, "npm", "--version") is null, "There is no npm here.");
            await Write("package.json", "{\"type\":\"module\"}");
            var installed = await Run(
                folder,
                "npm",
                ["install", .. packages.Split(' '), "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=0"]
            );
            Assert.SkipWhen(installed is null, $"npm cannot install {packages} here: there is no registry.");
            await Write("ask.js", $"{Shared}\n{script}\nconsole.log(JSON.stringify(said));");
            await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" }, model);
            var output = await Run(folder, "node", "ask.js", server.Address.ToString());
            Assert.NotNull(output);
            var said = JsonElement.Parse(output);
            Assert.Equal(said.GetProperty("chat").GetString(), said.GetProperty("stream").GetString());
            Assert.NotEmpty(said.GetProperty("chat").GetString()!);
            Assert.NotEmpty(said.GetProperty("after").GetString()!);
            foreach (var name in (string[])["call", "streamedCall"])
            {
                var call = said.GetProperty(name);
                Assert.Contains(call[0].GetString(), (string[])["tool_calls", "tool-calls"]);
                Assert.True(string.IsNullOrEmpty(call[1].GetString()), call.GetRawText());
                Assert.Equal("feed", call[2].GetProperty("name").GetString());
                CheckMeal(JsonElement.Parse(call[2].GetProperty("arguments").GetString()!));
            }
            foreach (var name in (string[])["object", "streamedObject", "parsed"])
                CheckMeal(said.GetProperty(name));
            if (packages != "openai")
                return;
            foreach (var name in (string[])["response", "responseCall", "streamedResponseCall"])
                CheckMeal(said.GetProperty(name));
            Assert.NotEmpty(said.GetProperty("afterResponse").GetString()!);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        Task Write(string name, string text) =>
            File.WriteAllTextAsync(Path.Combine(folder, name), text, TestContext.Current.CancellationToken);
    }

    private static void CheckMeal(JsonElement meal)
    {
        Assert.Equal(2, meal.EnumerateObject().Count());
        Assert.Contains(meal.GetProperty("bowl").GetString(), (string[])["red", "green"]);
        Assert.InRange(meal.GetProperty("grams").GetInt32(), 10, 90);
    }

    // The output of a program; null if it is not here or npm fails.
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
            var error = process.StandardError.ReadToEndAsync();
            var output = await process.StandardOutput.ReadToEndAsync();
            await process.WaitForExitAsync();
            if (program == "node")
                Assert.True(process.ExitCode == 0, $"{process.ExitCode}: {await error}{output}");
            return process.ExitCode == 0 ? output : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
