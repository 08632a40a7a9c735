using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;

namespace LongLora.Extensions.AI.Tests;

/// <summary>The generator against the model below it, on a real checkpoint.</summary>
public class LongLoraEmbeddingGeneratorTests
{
    private static ChatModel Open() => ChatModel.Open(Stories.Options with { Template = null });

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Vectors_are_those_of_the_model_and_their_tokens_are_counted()
    {
        LibTorch.EnsureLoaded();
        using var model = Open();
        using var generator = model.AsIEmbeddingGenerator();
        string[] texts = ["A dog ran home.", "A dog runs home.", "The sky is blue and big."];
        var made = await generator.GenerateAsync(texts, cancellationToken: Cancelled);
        for (var i = 0; i < texts.Length; i++)
        {
            Assert.Equal(await model.EmbedAsync(texts[i], Cancelled), made[i].Vector.ToArray());
            Assert.Equal((64, "stories260K-hf"), (made[i].Dimensions, made[i].ModelId));
        }
        Assert.Equal(texts.Sum(text => model.Tokenizer.Encode(text, addSpecial: true).Count), made.Usage!.InputTokenCount);
        // Two texts about the same are nearer to one another than to a third.
        Assert.True(Cosine(made[0], made[1]) > Cosine(made[0], made[2]) + 0.05, $"{Cosine(made[0], made[1])}, {Cosine(made[0], made[2])}");
        Assert.Empty(await generator.GenerateAsync([], cancellationToken: Cancelled));
    }

    private static float Cosine(Embedding<float> a, Embedding<float> b) =>
        System.Numerics.Tensors.TensorPrimitives.CosineSimilarity(a.Vector.Span, b.Vector.Span);

    public static TheoryData<string, EmbeddingGenerationOptions> Impossible =>
        new()
        {
            {
                "'gpt'",
                new() { ModelId = "gpt" }
            },
            {
                "63",
                new() { Dimensions = 63 }
            },
            {
                "normalize",
                new() { AdditionalProperties = new() { ["normalize"] = true } }
            },
            {
                "RawRepresentationFactory",
                new() { RawRepresentationFactory = _ => "text" }
            },
        };

    [Theory]
    [MemberData(nameof(Impossible))]
    public async Task What_cannot_be_honoured_is_refused_by_name(string named, EmbeddingGenerationOptions options)
    {
        LibTorch.EnsureLoaded();
        using var model = Open();
        using var generator = model.AsIEmbeddingGenerator();
        var told = await Assert.ThrowsAsync<NotSupportedException>(() => generator.GenerateAsync(["A dog"], options, Cancelled));
        Assert.Contains(named, told.Message, StringComparison.Ordinal);
        var allowed = new EmbeddingGenerationOptions { ModelId = model.Name, Dimensions = model.EmbeddingSize };
        Assert.Single(await generator.GenerateAsync(["A dog"], allowed, Cancelled));
    }

    [Fact]
    public async Task Text_without_room_is_refused_with_its_number()
    {
        LibTorch.EnsureLoaded();
        using var model = Open();
        using var generator = model.AsIEmbeddingGenerator();
        var tooLong = string.Concat(Enumerable.Repeat("a dog ran home. ", 300));
        var told = await Assert.ThrowsAsync<DataException>(() => generator.GenerateAsync(["A dog", tooLong], cancellationToken: Cancelled));
        Assert.Matches("Cannot embed text 1 because it has [0-9],[0-9]{3} tokens. It must have from 1 to 512.", told.Message);
    }

    [Fact]
    public async Task Cancelling_and_disposing_are_told_apart()
    {
        LibTorch.EnsureLoaded();
        using var model = Open();
        var generator = model.AsIEmbeddingGenerator();
        using var source = new CancellationTokenSource();
        await source.CancelAsync();
        var told = await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            generator.GenerateAsync(["A dog"], cancellationToken: source.Token)
        );
        Assert.Equal(source.Token, told.CancellationToken);
        generator.Dispose();
        generator.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => generator.GenerateAsync(["A dog"], cancellationToken: Cancelled));
        Assert.Equal(64, (await model.EmbedAsync("A dog", Cancelled)).Length);

        new LongLoraEmbeddingGenerator(model, ownsModel: true).Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => model.EmbedAsync("A dog", Cancelled));
    }

    [Fact]
    public void Services_are_metadata_model_and_the_generator_itself()
    {
        LibTorch.EnsureLoaded();
        using var model = Open();
        using var generator = model.AsIEmbeddingGenerator();
        var metadata = generator.GetRequiredService<EmbeddingGeneratorMetadata>();
        Assert.Equal(("longlora", "stories260K-hf", 64), (metadata.ProviderName, metadata.DefaultModelId, metadata.DefaultModelDimensions));
        Assert.Same(model, generator.GetService<ChatModel>());
        Assert.Same(generator, generator.GetService<IEmbeddingGenerator<string, Embedding<float>>>());
        Assert.Null(generator.GetService(typeof(string)));
        Assert.Null(generator.GetService(typeof(ChatModel), "key"));
    }
}
