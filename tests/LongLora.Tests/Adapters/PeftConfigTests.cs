using LongLora.Adapters;

namespace LongLora.Tests.Adapters;

/// <summary>Which modules a config means, by the rules of PEFT that goldens/peft/README.md tells.</summary>
public sealed class PeftConfigTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private PeftConfig Config(string fields)
    {
        _folder.Text("adapter_config.json", $$"""{"peft_type": "LORA", "r": 4, "lora_alpha": 8, {{fields}}}""");
        return PeftConfig.Read(_folder.Root);
    }

    private const string Q0 = "model.layers.0.self_attn.q_proj",
        Q1 = "model.layers.1.self_attn.q_proj",
        Down = "model.layers.1.mlp.down_proj",
        Head = "lm_head";

    [Theory]
    [InlineData("['q_proj']", "", Q0, true)]
    [InlineData("['proj']", "", Q0, false)] // not behind a dot
    [InlineData("['layers.1.self_attn.q_proj']", "", Q0, false)]
    [InlineData("['layers.1.self_attn.q_proj']", "", Q1, true)]
    [InlineData("'q_proj'", "", Q0, false)] // an expression for the whole name
    [InlineData(@"'.*\\.q_proj'", "", Q0, true)]
    [InlineData(@"'(?P<layer>model\\.layers\\.1)\\..*'", "", Down, true)]
    [InlineData("'all-linear'", "", Down, true)]
    [InlineData("'all-linear'", "", Head, false)]
    [InlineData("['q_proj']", ", 'layers_to_transform': [1]", Q0, false)]
    [InlineData("['q_proj']", ", 'layers_to_transform': 1", Q1, true)]
    [InlineData("['q_proj']", ", 'layers_to_transform': [0], 'layers_pattern': 'layers'", Q0, true)]
    [InlineData("['q_proj']", ", 'layers_to_transform': [0], 'layers_pattern': ['h', 'blocks']", Q0, false)]
    [InlineData("['model.layers.1.self_attn.q_proj']", ", 'layers_to_transform': [0]", Q1, true)] // a whole name counts alone
    [InlineData("'.*q_proj'", ", 'layers_to_transform': [1]", Q0, true)] // only with lists
    [InlineData("['q_proj', 'lm_head']", ", 'layers_to_transform': [0]", Head, true)]
    [InlineData("['q_proj']", ", 'exclude_modules': ['layers.0.self_attn.q_proj']", Q0, false)]
    [InlineData("['q_proj']", @", 'exclude_modules': '.*layers\\.0.*'", Q1, true)]
    [InlineData("['down_proj']", ", 'modules_to_save': ['mlp']", Down, false)]
    [InlineData("['down_proj']", ", 'modules_to_save': ['lp']", Down, true)]
    [InlineData("['lm_head']", ", 'modules_to_save': ['lm_head']", Head, false)]
    public void Targets_are_those_of_PEFT(string targets, string more, string module, bool expected)
    {
        var fields = $"'target_modules': {targets}{more}".Replace('\'', '"');
        Assert.Equal(expected, Config(fields).Targets(module, module != Head));
    }

    [Theory]
    [InlineData("norm", "model.layers.0.input_layernorm", true)] // no dot is needed
    [InlineData("norm", "model.norm", true)]
    [InlineData("embed_tokens", "model.embed_tokens", true)]
    [InlineData("mlp", Down, true)]
    [InlineData("head", Head, true)]
    [InlineData("q_proj", Down, false)]
    public void Saved_modules_are_those_of_PEFT(string saved, string module, bool expected) =>
        Assert.Equal(expected, Config($"\"target_modules\": [\"q_proj\"], \"modules_to_save\": [\"{saved}\"]").Saves(module));

    [Fact]
    public void First_pattern_that_fits_holds_and_the_stored_shape_tells_the_rank()
    {
        var config = Config(
            """
            "target_modules": ["q_proj", "down_proj"],
            "rank_pattern": {"layers\\.1\\..*": 6, "q_proj": 2},
            "alpha_pattern": {"q_proj": 3, "layers\\.1\\..*": 5, "proj": 7}
            """
        );
        Assert.Equal((2, 3.0), (config.FindRank(Q0, 2), config.FindAlpha(Q0)));
        Assert.Equal((6, 3.0), (config.FindRank(Q1, 6), config.FindAlpha(Q1)));
        Assert.Equal(2, config.FindRank(Q1, 2)); // sorted when it was written: the other one held in training
        Assert.Equal(6, config.FindRank(Q1, 4)); // none of both: the first is asked for
        Assert.Equal((6, 5.0), (config.FindRank(Down, 6), config.FindAlpha(Down)));
        Assert.Equal((4, 8.0), (config.FindRank("model.layers.0.mlp.up_proj", 4), config.FindAlpha("model.layers.0.mlp.up_proj")));
    }

    [Fact]
    public void Expression_that_takes_for_ever_is_refused()
    {
        var config = Config("\"target_modules\": \"(a+)+$\"");
        var told = Assert.Throws<LongLora.Runtime.CheckpointException>(() => config.Targets(new string('a', 40) + "!", true));
        Assert.Contains("takes too long", told.Message);
    }
}
