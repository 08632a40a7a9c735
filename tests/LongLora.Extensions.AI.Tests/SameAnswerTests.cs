using LongLora.Adapters;
using LongLora.Export;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Runtime;
using Microsoft.Extensions.AI;
using static TorchSharp.torch;
using TemplateMessage = LongLora.Tokenization.ChatMessage;

namespace LongLora.Extensions.AI.Tests;

/// <summary>One question, one greedy answer: by whatever way it is asked, with the adapter beside the model or merged into it.</summary>
public sealed class SameAnswerTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    [Fact]
    public async Task Greedy_answer_is_the_same_from_generator_model_and_client_before_and_after_merge()
    {
        LibTorch.EnsureLoaded();
        var (adapter, merged) = (Path.Combine(_folder, "adapter"), Path.Combine(_folder, "merged"));
        WriteAdapter(adapter, merged);
        var stop = TestContext.Current.CancellationToken;
        var base1 = await AskAsync(Stories.Options, stop);
        var attached = await AskAsync(Stories.Options with { Adapter = adapter }, stop);
        var whole = await AskAsync(Stories.Options with { Model = merged }, stop);
        Assert.All(attached, text => Assert.Equal(attached[0], text));
        Assert.Equal(attached, whole);
        Assert.NotEqual(base1[0], attached[0]);
        Assert.True(attached[0].Length > 100, attached[0]);
    }

    // By the generator on token ids, by the chat model, by the client in one piece and streamed.
    private static async Task<string[]> AskAsync(ChatModelOptions options, CancellationToken stop)
    {
        const string Question = "Tell me a story of a dog and a red ball.";
        var greedy = new GenerationOptions { MaxTokens = 80 };
        using var model = ChatModel.Open(options);
        using var client = model.AsIChatClient();
        using var plain = LoadedModel.Open(options.Model, new LoadOptions { Adapter = options.Adapter });
        using var generator = new TextGenerator(plain.Network, model.Tokenizer);
        TemplateMessage[] conversation = [new("user", Question)];
        return
        [
            generator.Generate([model.Encode(conversation)], greedy, cancellation: stop)[0].Text,
            (await model.AnswerAsync(conversation, greedy, stop).WholeAsync(stop)).Text,
            (await client.GetResponseAsync(Question, new() { MaxOutputTokens = 80 }, stop)).Text,
            (await client.GetStreamingResponseAsync(Question, new() { MaxOutputTokens = 80 }, stop).ToChatResponseAsync(stop)).Text,
        ];
    }

    // LoRA+ on four times the context, its weights moved by chance.
    private static void WriteAdapter(string adapter, string merged)
    {
        using var scope = NewDisposeScope();
        using var model = LoadedModel.Open(Stories.Folder, new LoadOptions { Context = 2048 });
        using var set = AdapterSet.Attach(model.Network, new AdapterOptions(), 5);
        using var generator = new Generator(3);
        using (no_grad())
        {
            foreach (var weight in set.Weights)
                weight.Value.add_(randn(weight.Value.shape, generator: generator).mul_(0.02));
        }
        PeftFormat.Write(adapter, set, model.Network, "base");
        HuggingFaceExporter.Write(merged, model.Network, model.Files);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
