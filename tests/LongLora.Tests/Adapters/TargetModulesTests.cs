using LongLora.Adapters;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tests.Models;

namespace LongLora.Tests.Adapters;

public class TargetModulesTests
{
    public static TheoryData<string, AdapterOptions> Impossible =>
        new()
        {
            {
                "rank is -1",
                new() { Rank = -1 }
            },
            {
                "alpha is 0",
                new() { Alpha = 0 }
            },
            {
                "alpha is NaN",
                new() { Alpha = double.NaN }
            },
            {
                "pissa-iterations is 4",
                new() { PissaIterations = 4 }
            },
            {
                "target-modules is empty",
                new() { TargetModules = [] }
            },
        };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void Attach_refuses_options_out_of_range(string named, AdapterOptions options)
    {
        using var model = ModelLoader.Describe(LlamaGoldenTests.TinyConfig);
        var told = Assert.Throws<ConfigurationException>(() => AdapterSet.Attach(model, options, seed: 1));
        Assert.Contains(named, told.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("llama", 4, 7)]
    [InlineData("phi3", 2, 4)]
    [InlineData("gpt_neox", 2, 4)]
    public void Words_stand_for_the_layers_of_any_family(string family, int attention, int all)
    {
        var config = LlamaGoldenTests.TinyConfig with
        {
            ModelType = family,
            Activation = family == "gpt_neox" ? "gelu" : "silu",
            TiedEmbeddings = false,
        };
        using var model = ModelLoader.Describe(config);
        Assert.Equal(attention * config.LayerCount, AdapterSet.Targets(model, [AdapterOptions.AttentionLayers]).Count);
        var every = AdapterSet.Targets(model, [AdapterOptions.AllLayers]);
        Assert.Equal(all * config.LayerCount, every.Count);
        Assert.DoesNotContain(model.Head, every);
        var told = Assert.Throws<ConfigurationException>(() => AdapterSet.Targets(model, ["q"])).Message;
        Assert.Contains("'attention' stands for", told);
        Assert.Contains("'all-linear' for", told);
    }
}
