using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Positions;

public class RopeScalingTests
{
    [Fact]
    public void Frequencies_every_published_table_is_equal()
    {
        using var file = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("rope_tables.json")));
        var tables = file.RootElement.EnumerateArray().ToList();
        Assert.Equal(18, tables.Count);
        foreach (var table in tables)
        {
            double? Number(string name) => table.TryGetProperty(name, out var value) ? value.GetDouble() : null;
            var config = LlamaGoldenTests.TinyConfig with
            {
                HeadSize = (int)Number("dim")!,
                RopeTheta = Number("theta")!.Value,
                MaxPositions = (int)(Number("max_position_embeddings") ?? 4096),
                RopeScaling = new()
                {
                    Kind = table.GetProperty("kind").GetString()!,
                    Factor = Number("factor") ?? 1,
                    OriginalMaxPositions = (int?)Number("original_max_position_embeddings"),
                    BetaFast = Number("beta_fast"),
                    BetaSlow = Number("beta_slow"),
                    LowFrequencyFactor = Number("low_freq_factor"),
                    HighFrequencyFactor = Number("high_freq_factor"),
                },
            };
            var ours = RopeScaling.ComputeFrequencies(config, (int)(Number("seq_len") ?? 4096));
            var golden = table.GetProperty("inv_freq").EnumerateArray().Select(x => x.GetDouble()).ToArray();
            Assert.Equal(golden.Length, ours.Inverse.Length);
            for (var i = 0; i < golden.Length; i++)
                Assert.Equal(golden[i], ours.Inverse[i], golden[i] * 1e-12);
            Assert.Equal(Number("attention_factor") ?? 1, ours.AttentionFactor, 1e-12);
        }
    }

    [Fact]
    public void Frequencies_longrope_changes_divisors_beyond_the_original_context()
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            HeadSize = 4,
            MaxPositions = 131072,
            RopeScaling = new()
            {
                Kind = "longrope",
                OriginalMaxPositions = 4096,
                ShortFactors = [1, 2],
                LongFactors = [4, 8],
            },
        };
        Assert.Equal([1, 0.01 / 2], RopeScaling.ComputeFrequencies(config, 4096).Inverse);
        Assert.Equal([0.25, 0.01 / 8], RopeScaling.ComputeFrequencies(config, 4097).Inverse);
        Assert.Equal(Math.Sqrt(1 + Math.Log(32) / Math.Log(4096)), RopeScaling.ComputeFrequencies(config, 1).AttentionFactor, 1e-15);
    }

    [Fact]
    public void Rotate_keeps_lengths_and_depends_on_distance_alone()
    {
        using var scope = NewDisposeScope();
        using var rotary = RotaryEmbedding.Create(LlamaGoldenTests.TinyConfig, 64);
        using var generator = new Generator(5, CPU);
        var q = randn([1, 1, 2, 16], generator: generator).expand(1, 64, 2, 16);
        var k = randn([1, 1, 2, 16], generator: generator).expand(1, 64, 2, 16);
        Tensor rotatedQ = rotary.Rotate(q),
            rotatedK = rotary.Rotate(k);
        Near.AssertEqual(q.square().sum(-1), rotatedQ.square().sum(-1), 1e-5);
        var products = einsum("blhk,bmhk->hlm", rotatedQ, rotatedK);
        for (var distance = 0; distance < 60; distance += 7)
        {
            var diagonal = products.diagonal(-distance, 1, 2);
            Near.AssertEqual(diagonal.narrow(1, 0, 1).expand(diagonal.shape), diagonal, 1e-4);
        }
    }

    [Theory]
    [InlineData("auto", "default", 1, null, 512, 4096, "yarn", 8.0, 512)]
    [InlineData("linear", "default", 1, null, 512, 4096, "linear", 8.0, 512)]
    [InlineData("auto", "linear", 2, null, 512, 4096, "linear", 8.0, 512)]
    [InlineData("linear", "linear", 4, 512, 2048, 5000, "linear", 10.0, 512)]
    [InlineData("yarn", "default", 1, null, 512, 1000, "yarn", 2.0, 512)]
    [InlineData("auto", "llama3", 8, 8192, 131072, 262144, "llama3", 32.0, 8192)]
    public void Extend_counts_from_the_context_before_any_rescaling(
        string asked,
        string kind,
        double factor,
        int? original,
        int max,
        int context,
        string newKind,
        double newFactor,
        int newOriginal
    )
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            MaxPositions = max,
            RopeScaling = new()
            {
                Kind = kind,
                Factor = factor,
                OriginalMaxPositions = original,
                LowFrequencyFactor = 1,
                HighFrequencyFactor = 4,
            },
        };
        var extended = RopeScaling.Extend(config, asked, null, context);
        Assert.Equal(
            (newKind, newFactor, newOriginal, context),
            (
                extended.RopeScaling.Kind,
                extended.RopeScaling.Factor,
                extended.RopeScaling.OriginalMaxPositions!.Value,
                extended.MaxPositions
            )
        );
        Assert.Same(extended, RopeScaling.Extend(extended, asked, null, context));
    }

    // Qwen's documented form leaves max_position_embeddings as it is; vLLM derives the context from the factor.
    [Theory]
    [InlineData(32768, 32768, 4, 131072)]
    [InlineData(40960, 32768, 4, 131072)]
    [InlineData(131072, 32768, 4, 131072)]
    [InlineData(131072, 4096, 32, 131072)]
    [InlineData(50000, 32768, 2, 50000)]
    [InlineData(64, null, 4, 256)]
    public void GetCurrentContext_of_yarn_is_the_original_one_times_the_factor(int max, int? original, double factor, int context) =>
        Assert.Equal(
            context,
            RopeScaling.GetCurrentContext(
                LlamaGoldenTests.TinyConfig with
                {
                    MaxPositions = max,
                    RopeScaling = new()
                    {
                        Kind = "yarn",
                        Factor = factor,
                        OriginalMaxPositions = original,
                    },
                }
            )
        );

    // As vLLM derives it: only linear, dynamic and yarn have a context that is not in max_position_embeddings.
    [Theory]
    [InlineData("default", 4096, null, 1, 4096)]
    [InlineData("default", 4096, 2048, 1, 4096)]
    [InlineData("linear", 4096, null, 8, 32768)]
    [InlineData("linear", 4096, 4096, 8, 32768)]
    [InlineData("linear", 32768, 4096, 8, 32768)]
    [InlineData("dynamic", 2048, null, 4, 8192)]
    [InlineData("dynamic", 2048, 1024, 4, 8192)]
    [InlineData("dynamic", 2048, null, 1.5, 3072)]
    [InlineData("llama3", 131072, 8192, 8, 131072)]
    [InlineData("llama3", 131072, 8192, 32, 131072)]
    [InlineData("longrope", 131072, 4096, 1, 131072)]
    [InlineData("longrope", 131072, 4096, 32, 131072)]
    [InlineData("longrope", 4096, 4096, 32, 4096)]
    public void GetCurrentContext_is_what_other_engines_derive(string kind, int max, int? original, double factor, int context)
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            MaxPositions = max,
            RopeScaling = new()
            {
                Kind = kind,
                Factor = factor,
                OriginalMaxPositions = original,
            },
        };
        Assert.Equal(context, RopeScaling.GetCurrentContext(config));
        // A context that the model has needs no rescaling.
        Assert.Same(config, RopeScaling.Extend(config, "auto", null, context));
    }

    [Fact]
    public void GetCurrentContext_of_a_fixed_alpha_is_in_the_file() =>
        Assert.Equal(
            262144,
            RopeScaling.GetCurrentContext(
                LlamaGoldenTests.TinyConfig with
                {
                    MaxPositions = 262144,
                    RopeScaling = new() { Kind = "dynamic", Alpha = 1000 },
                }
            )
        );

    // transformers counts from max_position_embeddings, whatever original_max_position_embeddings says.
    [Fact]
    public void Dynamic_frequencies_begin_to_grow_at_the_context_of_the_file()
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            MaxPositions = 2048,
            RopeScaling = new() { Kind = "dynamic", Factor = 4 },
        };
        var other = config with { RopeScaling = config.RopeScaling with { OriginalMaxPositions = 1024 } };
        double[] At(ModelConfig model, int length) => RopeScaling.ComputeFrequencies(model, length).Inverse;
        Assert.Equal(At(config, 1), At(other, 2048));
        Assert.Equal(At(config, 8192), At(other, 8192));
        Assert.NotEqual(At(config, 1), At(other, 2049));
        Assert.Equal((2048, 8192), (RopeScaling.GetTextLength(other, 1500, 8192), RopeScaling.GetTextLength(other, 2049, 8192)));
    }

    [Theory]
    [InlineData(8192, 4)]
    [InlineData(16384, 8)]
    public void Extend_dynamic_gives_the_context_that_was_asked_for(int context, double factor)
    {
        var config = LlamaGoldenTests.TinyConfig with { MaxPositions = 2048, RopeScaling = RopeScalingConfig.None };
        var extended = RopeScaling.Extend(config, "dynamic", null, context);
        Assert.Equal((2048, factor), (extended.MaxPositions, extended.RopeScaling.Factor));
        Assert.Equal(context, RopeScaling.GetCurrentContext(extended));
        Assert.Same(extended, RopeScaling.Extend(extended, "auto", null, context));
        Assert.Equal(2 * context, RopeScaling.GetCurrentContext(RopeScaling.Extend(extended, "auto", null, 2 * context)));
    }

    [Theory]
    [InlineData("sideways", "default", "sideways")]
    [InlineData("yarn", "linear", "config.json can hold only one kind")]
    [InlineData("auto", "longrope", "no rule gives")]
    public void Extend_what_cannot_be_is_refused(string asked, string kind, string reason)
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            RopeScaling = new RopeScalingConfig { Kind = kind, Factor = kind == "default" ? 1 : 2 },
        };
        Assert.Contains(
            reason,
            Assert.Throws<ConfigurationException>(() => RopeScaling.Extend(config, asked, null, 4096)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Extend_by_length_leaves_short_text_alone_and_gives_long_text_yarns_frequencies()
    {
        var config = LlamaGoldenTests.TinyConfig with { MaxPositions = 512, RopeScaling = RopeScalingConfig.None };
        var extended = RopeScaling.Extend(config, RopeScaling.ByLength, null, 4000);
        var yarn = RopeScaling.ComputeFrequencies(RopeScaling.Extend(config, "yarn", null, 4000), 4000);
        var (shortText, shortFactor) = RopeScaling.ComputeFrequencies(extended, 512);
        var (longText, longFactor) = RopeScaling.ComputeFrequencies(extended, 513);
        Assert.Equal(RopeScaling.ComputeFrequencies(config, 512).Inverse, shortText);
        Assert.Equal((1.0, 1.0), (shortFactor, longFactor));
        for (var i = 0; i < longText.Length; i++)
            Assert.Equal(yarn.Inverse[i], longText[i], yarn.Inverse[i] * 1e-15);

        // Further from there: counted from the original context again.
        var further = RopeScaling.Extend(extended, "auto", null, 8192);
        Assert.Equivalent(RopeScaling.Extend(config, RopeScaling.ByLength, null, 8192), further, strict: true);

        // transformers before 5 reads the original context outside of rope_scaling only.
        var root = JsonNode.Parse(ModelConfigWriter.Update(ModelConfigWriter.Create(config), extended))!;
        Assert.Equal(
            (512, 512),
            ((int)root["original_max_position_embeddings"]!, (int)root["rope_scaling"]!["original_max_position_embeddings"]!)
        );
        Assert.Equivalent(extended, ModelConfigReader.Parse(root.ToJsonString()), strict: true);
        Assert.Contains(
            "has already replaced them",
            Assert
                .Throws<ConfigurationException>(() =>
                    RopeScaling.Extend(RopeScaling.Extend(config, "linear", null, 1024), RopeScaling.ByLength, null, 2048)
                )
                .Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "Use auto",
            Assert
                .Throws<ConfigurationException>(() =>
                    RopeScaling.Extend(PublishedConfigs.Find("phi-3-mini-4k"), RopeScaling.ByLength, null, 16384)
                )
                .Message,
            StringComparison.Ordinal
        );
    }

    // transformers' Phi3Config refuses every kind but longrope, and wants exactly type, short_factor and long_factor.
    [Fact]
    public void Extend_phi3_without_scaling_gives_longrope_that_interpolates()
    {
        var config = PublishedConfigs.Find("phi-3-mini-4k");
        var extended = RopeScaling.Extend(config, "auto", null, 16384);
        Assert.Equal(
            ("longrope", 16384, 4096),
            (extended.RopeScaling.Kind, extended.MaxPositions, extended.RopeScaling.OriginalMaxPositions)
        );
        foreach (var length in new[] { 100, 16384 })
        {
            var (inverse, factor) = RopeScaling.ComputeFrequencies(extended, length);
            Assert.Equal(RopeScaling.ComputeFrequencies(config, length).Inverse.Select(f => f / 4), inverse);
            Assert.Equal(Math.Sqrt(1 + Math.Log(4) / Math.Log(4096)), factor, 1e-15);
        }
        var root = JsonNode.Parse(ModelConfigWriter.Update(ModelConfigWriter.Create(config), extended))!;
        Assert.Equal(["type", "short_factor", "long_factor"], root["rope_scaling"]!.AsObject().Select(p => p.Key));
        Assert.Equal((4096, 16384), ((int)root["original_max_position_embeddings"]!, (int)root["max_position_embeddings"]!));
        Assert.Equivalent(extended, ModelConfigReader.Parse(root.ToJsonString()), strict: true);
    }
}
