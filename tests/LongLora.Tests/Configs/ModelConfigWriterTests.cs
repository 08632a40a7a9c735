using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Configs;

public class ModelConfigWriterTests
{
    private static readonly RopeScalingConfig s_linear = new()
    {
        Kind = "linear",
        Factor = 4,
        OriginalMaxPositions = 512,
    };

    public static TheoryData<RopeScalingConfig> Scalings =>
        [
            RopeScalingConfig.None,
            s_linear,
            new RopeScalingConfig { Kind = "linear", Factor = 2.5 },
            new RopeScalingConfig { Kind = "dynamic", Factor = 3 },
            new RopeScalingConfig
            {
                Kind = "yarn",
                Factor = 8,
                OriginalMaxPositions = 512,
                BetaFast = 16,
                BetaSlow = 2,
                AttentionFactor = 1.25,
                Mscale = 0.7,
                MscaleAllDim = 0.9,
                Truncate = false,
            },
            new RopeScalingConfig
            {
                Kind = "llama3",
                Factor = 8,
                OriginalMaxPositions = 512,
                LowFrequencyFactor = 1,
                HighFrequencyFactor = 4,
            },
            new RopeScalingConfig
            {
                Kind = "longrope",
                OriginalMaxPositions = 512,
                ShortFactors = [1, 1, 1, 1],
                LongFactors = [1.5, 2, 2.5, 3],
                AttentionFactor = 1.1,
            },
        ];

    private static string Original => File.ReadAllText(SharedMaterial.Golden("stories260K-hf", "config.json"));

    [Theory]
    [MemberData(nameof(Scalings))]
    public void Create_and_Update_are_read_as_what_was_meant(RopeScalingConfig scaling)
    {
        var meant = ModelConfigReader.Parse(Original) with
        {
            RopeScaling = scaling,
            RopeTheta = 12345.5,
            MaxPositions = 2048,
            VocabularySize = 520,
        };
        var newStyle = JsonNode.Parse(Original)!.AsObject();
        newStyle.Remove("rope_scaling");
        newStyle.Remove("rope_theta");
        newStyle["rope_parameters"] = new JsonObject { ["rope_theta"] = 10000.0, ["rope_type"] = "default" };
        string[] texts =
        [
            ModelConfigWriter.Create(meant),
            ModelConfigWriter.Update(Original, meant),
            ModelConfigWriter.Update(newStyle.ToJsonString(), meant),
        ];
        foreach (var text in texts)
        {
            var read = ModelConfigReader.Parse(text);
            Assert.Equivalent(meant, read, strict: true);
            // And back again: nothing is left over from the scaling.
            Assert.Equivalent(
                meant with
                {
                    RopeScaling = s_linear,
                },
                ModelConfigReader.Parse(ModelConfigWriter.Update(text, meant with { RopeScaling = s_linear })),
                strict: true
            );
        }
        Assert.True(JsonNode.Parse(texts[2])!.AsObject().ContainsKey("rope_parameters"));
        Assert.False(JsonNode.Parse(texts[2])!.AsObject().ContainsKey("rope_scaling"));
    }

    [Fact]
    public void Update_without_a_change_gives_the_original()
    {
        var updated = ModelConfigWriter.Update(Original, ModelConfigReader.Parse(Original));
        Assert.Equal(Original.TrimEnd() + "\n", updated);
    }

    [Fact]
    public void Update_changes_only_what_changed()
    {
        var original = Original.Replace("\"use_cache\"", "\"_name_or_path\": \"日本/x<y\",\n  \"use_cache\"", StringComparison.Ordinal);
        var updated = ModelConfigWriter.Update(
            original,
            ModelConfigReader.Parse(original) with
            {
                RopeScaling = s_linear,
                MaxPositions = 2048,
            },
            ScalarType.BFloat16
        );
        var expected =
            original
                .Replace("\"max_position_embeddings\": 512", "\"max_position_embeddings\": 2048", StringComparison.Ordinal)
                .Replace(
                    "\"rope_scaling\": null",
                    "\"rope_scaling\": {\n    \"type\": \"linear\",\n    \"factor\": 4.0\n  }",
                    StringComparison.Ordinal
                )
                .Replace("\"torch_dtype\": \"float32\"", "\"torch_dtype\": \"bfloat16\"", StringComparison.Ordinal)
                .Replace("\"4.34.0\"\n}", "\"4.34.0\",\n  \"original_max_position_embeddings\": 512\n}", StringComparison.Ordinal)
                .TrimEnd() + "\n";
        Assert.Equal(expected, updated);
    }

    [Fact]
    public void Update_linear_is_what_old_transformers_accept()
    {
        // transformers 4.31 to 4.42: exactly two fields, and the factor a float.
        var text = ModelConfigWriter.Update(Original, ModelConfigReader.Parse(Original) with { RopeScaling = s_linear });
        Assert.Equal("""{"type":"linear","factor":4.0}""", JsonNode.Parse(text)!["rope_scaling"]!.ToJsonString());
    }

    [Fact]
    public void Update_keeps_the_new_name_beside_the_old_where_the_original_has_it()
    {
        var json = JsonNode.Parse(Original)!;
        json["rope_scaling"] = new JsonObject { ["rope_type"] = "linear", ["factor"] = 2.0 };
        var text = ModelConfigWriter.Update(
            json.ToJsonString(),
            ModelConfigReader.Parse(json.ToJsonString()) with
            {
                RopeScaling = s_linear,
            }
        );
        Assert.Equal("""{"type":"linear","rope_type":"linear","factor":4.0}""", JsonNode.Parse(text)!["rope_scaling"]!.ToJsonString());
        var yarn = ModelConfigWriter.Update(
            Original,
            ModelConfigReader.Parse(Original) with
            {
                RopeScaling = new()
                {
                    Kind = "yarn",
                    Factor = 4,
                    OriginalMaxPositions = 512,
                },
            }
        );
        Assert.Equal(
            """{"type":"yarn","rope_type":"yarn","factor":4.0,"original_max_position_embeddings":512}""",
            JsonNode.Parse(yarn)!["rope_scaling"]!.ToJsonString()
        );
    }

    [Fact]
    public void Positions_written_over_another_config_give_the_new_positions()
    {
        foreach (var row in Scalings)
        {
            var root = JsonNode
                .Parse(ModelConfigWriter.Create(ModelConfigReader.Parse(Original) with { RopeScaling = s_linear, RopeTheta = 7 }))!
                .AsObject();
            var meant = ModelConfigReader.Parse(Original) with { RopeScaling = row.Data, MaxPositions = 999 };
            foreach (var (name, value) in ModelConfigWriter.DescribePositions(meant))
                root[name] = value?.DeepClone();
            Assert.Equivalent(meant, ModelConfigReader.Parse(root.ToJsonString()), strict: true);
        }
    }

    [Fact]
    public void Update_other_family_or_damaged_original_is_refused()
    {
        var config = ModelConfigReader.Parse(Original);
        Assert.Throws<ArgumentException>(() => ModelConfigWriter.Update(Original, config with { ModelType = "mistral" }));
        Assert.Throws<ArgumentException>(() => ModelConfigWriter.Create(config with { ModelType = "mamba" }));
        Assert.Throws<CheckpointException>(() => ModelConfigWriter.Update("{}", config));
    }

    [Fact]
    public void Create_of_every_published_config_is_read_as_it_was()
    {
        foreach (var config in PublishedConfigs.Names.Select(PublishedConfigs.Find))
            Assert.Equivalent(config, ModelConfigReader.Parse(ModelConfigWriter.Create(config)), strict: true);
    }
}
