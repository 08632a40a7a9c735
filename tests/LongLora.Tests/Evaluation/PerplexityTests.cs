using System.Text.Json;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Evaluation;

public class PerplexityTests
{
    [Fact]
    public void Evaluate_longlora_protocol_equals_every_golden()
    {
        using var file = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("ppl_stories260K.json")));
        var compared = 0;
        foreach (var entry in file.RootElement.EnumerateArray())
        {
            var attention = entry.GetProperty("attn").GetString();
            if (attention is not ("full" or "s2_flash"))
                continue; // the published roll leaks; it is an oracle to differ from
            var context = entry.GetProperty("context").GetInt32();
            using var model = FineTuneGoldenTests.LoadStories(config =>
                entry.GetProperty("rope_scaling") is { ValueKind: JsonValueKind.Object } scaling
                    ? config with
                    {
                        RopeScaling = new()
                        {
                            Kind = (scaling.TryGetProperty("type", out var t) ? t : scaling.GetProperty("rope_type")).GetString()!,
                            Factor = scaling.GetProperty("factor").GetDouble(),
                        },
                    }
                    : config
            );
            using var tokens = FineTuneGoldenTests.Store(entry.GetProperty("text").GetString()!);
            var result = Perplexity.Evaluate(
                model,
                tokens,
                context,
                PerplexityProtocol.LongLora,
                attention: attention == "full" ? new FullAttention() : new ShiftedSparseAttention(entry.GetProperty("group").GetInt32())
            );
            Assert.Equal(entry.GetProperty("mean_nll").GetDouble(), result.Loss, 1e-5);
            Assert.Equal(entry.GetProperty("windows").GetInt64() * (context - 1), result.Tokens);
            compared++;
        }
        Assert.True(compared >= 10, $"only {compared} goldens were compared");
    }

    [Fact]
    public void Evaluate_document_protocol_scores_every_token_once_with_the_context_of_its_window()
    {
        using var scope = NewDisposeScope();
        using var model = FineTuneGoldenTests.LoadStories();
        int[] book = [.. Enumerable.Range(0, 150).Select(i => i * 7 % 500 + 3)];
        int[][] documents = [book[..100], book[100..101], book[101..149]];
        using var tokens = TokenStore.Build(new FineTuneGoldenTests.MemorySource(documents), 2);
        var result = Perplexity.Evaluate(model, tokens, 32, PerplexityProtocol.Document, 20);

        // One forward pass for each token, from the definition.
        double sum = 0;
        var count = 0;
        foreach (var document in documents)
        {
            for (var t = 1; t < document.Length; t++)
            {
                var window = Enumerable.Range(0, 100).First(w => t < w * 20 + 32);
                long[] ids = [.. document[(window * 20)..(t + 1)].Select(x => (long)x)];
                using var positions = RotaryEmbedding.Create(model.Config, ids.Length);
                var logits = model.ComputeLogits(tensor(ids, [1, ids.Length]), new ForwardContext(new FullAttention(), positions));
                sum -= nn.functional.log_softmax(logits[0, ids.Length - 2], 0)[ids[^1]].item<float>();
                count++;
            }
        }
        Assert.Equal(count, result.Tokens);
        Assert.Equal(sum / count, result.Loss, 1e-5);
    }

    [Fact]
    public void Evaluate_text_shorter_than_the_context_says_so()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var tokens = TokenStore.Build(new FineTuneGoldenTests.MemorySource([1, 2, 3, 4]), null);
        Assert.Contains(
            "4 tokens",
            Assert.Throws<DataException>(() => Perplexity.Evaluate(model, tokens, 64, PerplexityProtocol.LongLora)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "stride is 64",
            Assert.Throws<ConfigurationException>(() => Perplexity.Evaluate(model, tokens, 64, PerplexityProtocol.Document, 64)).Message,
            StringComparison.Ordinal
        );
    }
}
