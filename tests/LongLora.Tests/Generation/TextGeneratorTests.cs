using LongLora.Checkpoints;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Generation;

/// <summary>On the real checkpoint of the goldens.</summary>
public sealed class TextGeneratorTests : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly ITokenizer _tokenizer;

    public TextGeneratorTests()
    {
        var path = SharedMaterial.Golden("stories260K-hf");
        var folder = CheckpointDirectory.Open(path);
        _model = ModelLoader.Load(folder.Config, folder);
        _tokenizer = TokenizerLoader.Load(path);
    }

    public void Dispose() => _model.Dispose();

    private static GenerationOptions Greedy(int tokens) => new() { MaxTokens = tokens };

    [Fact]
    public void Generate_greedily_from_bos_equals_golden()
    {
        using var golden = GoldenTensors.Read(SharedMaterial.Golden("stories260K_forward.safetensors"));
        var wanted = golden["greedy_ids"].data<long>().Select(id => (int)id).ToList();
        using var generator = new TextGenerator(_model, _tokenizer);
        // Some builds of the golden begin with BOS.
        var start = wanted[0] == _tokenizer.BosTokenId ? 1 : 0;
        var made = generator.Generate(
            [
                [_tokenizer.BosTokenId!.Value],
            ],
            new GenerationOptions { MaxTokens = wanted.Count - start, IgnoreEos = true }
        )[0];
        Assert.Equal(wanted[start..], made.Tokens);
    }

    [Fact]
    public void Generate_refuses_a_second_generation_and_what_comes_after_the_end()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        var alone = generator.Generate("Once", Greedy(8)).Text;
        var pieces = 0;
        var text = generator.Generate("Once", Greedy(8), _ =>
        {
            if (++pieces > 1)
                return;
            var told = Assert.Throws<InvalidOperationException>(() => generator.Generate("A dog", Greedy(2)));
            Assert.Contains("is generating", told.Message, StringComparison.Ordinal);
            generator.Dispose(); // frees the cache at the end
        });
        Assert.Equal(alone, text.Text);
        Assert.True(pieces > 1, $"{pieces} pieces");
        Assert.Throws<ObjectDisposedException>(() => generator.Generate("Once", Greedy(2)));
        generator.Dispose();
    }

    [Fact]
    public void Generate_tells_how_far_the_prompt_is_read()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        var seen = new List<PromptProgress>();
        var options = Greedy(1) with { PrefillChunk = 4, PromptProgress = new Listener(seen) };
        generator.Generate(
            [
                [1, 10, 11, 12, 13, 14, 15, 16, 17, 18],
            ],
            options
        );
        Assert.Equal([new(0, 10), new(4, 10), new(8, 10)], seen);
        seen.Clear();
        generator.Generate(
            [
                [1, 10, 11, 12, 13, 14, 15, 16, 17, 20],
            ],
            options
        ); // all but the last token are known
        Assert.Equal([new(9, 10)], seen);
    }

    private sealed class Listener(List<PromptProgress> seen) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value) => seen.Add(value);
    }

    [Fact]
    public void Generate_together_equals_each_alone()
    {
        IReadOnlyList<int>[] prompts =
        [
            .. new[] { "Once upon a time", "The dog", "Lily and Tom went to the park. They" }.Select(t =>
                _tokenizer.Encode(t, addSpecial: true)
            ),
        ];
        using var together = new TextGenerator(_model, _tokenizer);
        var all = together.Generate(prompts, Greedy(40));
        for (var i = 0; i < prompts.Length; i++)
        {
            using var alone = new TextGenerator(_model, _tokenizer);
            Assert.Equal(alone.Generate([prompts[i]], Greedy(40))[0].Tokens, all[i].Tokens);
        }
    }

    [Fact]
    public void Generate_with_positions_by_length_answers_short_prompts_as_the_original_and_each_as_alone()
    {
        var path = SharedMaterial.Golden("stories260K-hf");
        using var folder = CheckpointDirectory.Open(path);
        using var extended = ModelLoader.Load(RopeScaling.Extend(folder.Config, RopeScaling.ByLength, null, 1024), folder);
        var brief = _tokenizer.Encode("Once upon a time", addSpecial: true);
        IReadOnlyList<int> lengthy = [.. Enumerable.Repeat(brief, 120).SelectMany(ids => ids)];
        Assert.InRange(lengthy.Count, 513, 990);

        using var original = new TextGenerator(_model, _tokenizer);
        using var together = new TextGenerator(extended, _tokenizer);
        var all = together.Generate([lengthy, brief, lengthy, brief], Greedy(30));
        Assert.Equal(original.Generate([brief], Greedy(30))[0].Tokens, all[1].Tokens);
        Assert.Equal(all[1].Tokens, all[3].Tokens);
        using var alone = new TextGenerator(extended, _tokenizer);
        Assert.Equal(alone.Generate([lengthy], Greedy(30))[0].Tokens, all[0].Tokens);
        Assert.Equal(all[0].Tokens, all[2].Tokens);
        // The same generator, long after short: nothing of the short text's cache is used.
        var again = alone.Generate([brief], Greedy(30))[0];
        Assert.Equal(0, again.CachedTokens);
        Assert.Equal(all[1].Tokens, again.Tokens);
    }

    [Fact]
    public void Generate_reads_what_is_new_in_a_prompt_only()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        var first = generator.Generate("Once upon a time there was a cat. The", Greedy(20));
        Assert.Equal(0, first.CachedTokens);
        var second = generator.Generate("Once upon a time there was a dog. The", Greedy(20));
        Assert.InRange(second.CachedTokens, 5, second.PromptTokens - 2);
        using var fresh = new TextGenerator(_model, _tokenizer);
        Assert.Equal(fresh.Generate("Once upon a time there was a dog. The", Greedy(20)).Tokens, second.Tokens);
    }

    [Fact]
    public void Generate_in_small_chunks_and_pieces_gives_the_same_text()
    {
        const string prompt = "Tim liked to play with his red ball. One day";
        using var generator = new TextGenerator(_model, _tokenizer);
        var whole = generator.Generate(prompt, Greedy(60));
        var pieces = new List<string>();
        using var other = new TextGenerator(_model, _tokenizer);
        var made = other.Generate(prompt, Greedy(60) with { PrefillChunk = 3 }, pieces.Add);
        Assert.Equal(whole.Tokens, made.Tokens);
        Assert.Equal(made.Text, string.Concat(pieces));
        Assert.True(pieces.Count > 20);
        Assert.Equal(
            _tokenizer.Decode([.. _tokenizer.Encode(prompt), .. made.Tokens])[_tokenizer.Decode([.. _tokenizer.Encode(prompt)]).Length..],
            made.Text
        );
    }

    [Fact]
    public void Generate_ends_before_a_stop_text_that_spans_tokens()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        var free = generator.Generate("Once upon a time", Greedy(60));
        var stop = free.Text[17..29];
        var pieces = "";
        var made = generator.Generate("Once upon a time", Greedy(60) with { Stop = ["never there", stop] }, piece => pieces += piece);
        Assert.Equal(free.Text[..free.Text.IndexOf(stop, StringComparison.Ordinal)], made.Text);
        Assert.Equal(made.Text, pieces);
        Assert.Equal(FinishReason.Stop, made.Finish);
        Assert.Equal(FinishReason.Length, free.Finish);
    }

    [Fact]
    public void Generate_stops_where_the_context_is_full_and_refuses_a_prompt_that_fills_it()
    {
        using var generator = new TextGenerator(_model, _tokenizer, context: 24);
        var made = generator.Generate(
            [
                [.. Enumerable.Repeat(300, 20)],
            ],
            new GenerationOptions { IgnoreEos = true }
        )[0];
        Assert.Equal((4, FinishReason.Length), (made.Tokens.Count, made.Finish));
        var told = Assert.Throws<DataException>(() =>
            generator.Generate(
                [
                    [.. Enumerable.Repeat(300, 24)],
                ],
                Greedy(1)
            )
        );
        Assert.Contains("24 tokens", told.Message);
    }

    [Fact]
    public void Generate_with_a_seed_repeats_itself_and_another_seed_does_not()
    {
        string Make(int seed)
        {
            using var generator = new TextGenerator(_model, _tokenizer);
            return generator
                .Generate(
                    "Once upon a time",
                    new GenerationOptions
                    {
                        MaxTokens = 40,
                        Temperature = 1,
                        TopP = 0.95,
                        Seed = seed,
                    }
                )
                .Text;
        }
        Assert.Equal(Make(1), Make(1));
        Assert.NotEqual(Make(1), Make(2));
    }

    [Fact]
    public void Generate_can_be_cancelled()
    {
        using var generator = new TextGenerator(_model, _tokenizer);
        using var source = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => generator.Generate("Once", Greedy(500), _ => source.Cancel(), source.Token));
    }

    [Fact]
    public void Generate_with_streaming_goes_on_beyond_the_context_and_begins_as_without()
    {
        using var streaming = new TextGenerator(_model, _tokenizer, streaming: new StreamingOptions { Window = 60 });
        using var whole = new TextGenerator(_model, _tokenizer);
        var options = Greedy(700) with { IgnoreEos = true };
        var far = streaming.Generate("Once upon a time", options);
        Assert.Equal((700, FinishReason.Length), (far.Tokens.Count, far.Finish));
        Assert.Equal(whole.Generate("Once upon a time", Greedy(50)).Tokens.Take(50), far.Tokens.Take(50));
        // Goes on where it stopped; a text that the sinks do not begin is read anew.
        var text = (IReadOnlyList<int>)[.. _tokenizer.Encode("Once upon a time", addSpecial: true), .. far.Tokens];
        Assert.Equal(text.Count - 1, streaming.Generate([text], Greedy(2))[0].CachedTokens);
        var other = streaming.Generate("The dog", Greedy(20));
        Assert.Equal(0, other.CachedTokens);
        Assert.Equal(whole.Generate("The dog", Greedy(20)).Tokens, other.Tokens);
        // A prompt beyond the window, and several at once.
        var two = streaming.Generate([text, _tokenizer.Encode("The dog", addSpecial: true)], Greedy(20));
        Assert.Equal(other.Tokens, two[1].Tokens);
        using var alone = new TextGenerator(_model, _tokenizer, streaming: new StreamingOptions { Window = 60 });
        Assert.Equal(alone.Generate([text], Greedy(20) with { PrefillChunk = 7 })[0].Tokens, two[0].Tokens);
    }

    [Theory]
    [InlineData(KeyValueType.BF16)]
    [InlineData(KeyValueType.Int8)]
    public void Generate_with_a_smaller_cache_tells_the_same_story(KeyValueType type)
    {
        using var small = new TextGenerator(_model, _tokenizer, cacheType: type);
        using var whole = new TextGenerator(_model, _tokenizer);
        Assert.Equal(whole.Generate("Once upon a time", Greedy(30)).Text, small.Generate("Once upon a time", Greedy(30)).Text);
    }
}
