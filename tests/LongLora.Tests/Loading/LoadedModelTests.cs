using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Tests.Loading;

public sealed class LoadedModelTests : IDisposable
{
    private static readonly string s_stories = SharedMaterial.Golden("stories260K-hf");
    private static readonly LoadOptions s_cpu = new() { Device = "cpu" };

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string CopyStories(params (string File, string Text)[] more)
    {
        foreach (var file in Directory.GetFiles(s_stories))
            File.Copy(file, _folder[Path.GetFileName(file)]);
        foreach (var (file, text) in more)
            _folder.Text(file, text);
        return _folder.Root;
    }

    [Fact]
    public void Open_gives_all_that_belongs_to_a_model()
    {
        using var loaded = LoadedModel.Open(s_stories, s_cpu with { Template = "chatml" });
        Assert.Equal(("stories260K-hf", s_stories), (loaded.Source.Name, loaded.Source.Location));
        Assert.Equal(512, RopeScaling.GetCurrentContext(loaded.Config));
        Assert.Equal((512, 2, 2), (loaded.Tokenizer!.VocabularySize, loaded.Separator, Assert.Single(loaded.EndTokens)));
        Assert.Equal(("<|im_end|>", null), (loaded.EndOfAnswer.Text, loaded.EndOfAnswer.Token));
        Assert.Null(loaded.Adapter);
        Assert.Equal(s_stories, loaded.Files.Path);
        using var plain = LoadedModel.Open(s_stories, s_cpu);
        Assert.Null(plain.Template);
        Assert.Same(AnswerEnd.None, plain.EndOfAnswer);
    }

    public static TheoryData<string, LoadOptions> Impossible =>
        new()
        {
            { "context is -5", s_cpu with { Context = -5 } },
            { "rope-factor is 0.5", s_cpu with { Context = 1024, RopeFactor = 0.5 } },
            { "rope-factor is NaN", s_cpu with { Context = 1024, RopeFactor = double.NaN } },
            { "no effect", s_cpu with { Context = 1024, RopeScaling = "default", RopeFactor = 2 } },
            { "need a context", s_cpu with { RopeFactor = 2 } },
            { "need a context", s_cpu with { RopeScaling = "linear" } },
        };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void Open_refuses_options_out_of_range_or_without_effect(string named, LoadOptions options)
    {
        var told = Assert.Throws<ConfigurationException>(() => LoadedModel.Open(s_stories, options));
        Assert.Contains(named, told.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_keeps_the_blocks_of_a_gguf_file_where_the_form_is_left_to_it()
    {
        using (var whole = LoadedModel.Open(s_stories, s_cpu))
            GgufExporter.Write(_folder["a.gguf"], whole, GgufFileType.Q8_0);
        int CountBlocks(string model, QuantizationKind? kind)
        {
            using var loaded = LoadedModel.Open(model, s_cpu with { Quantization = kind });
            return loaded.Network.Linears.Count(l => l.Projection is GgufProjection);
        }
        Assert.True(CountBlocks(_folder["a.gguf"], null) > 0);
        Assert.Equal(CountBlocks(_folder["a.gguf"], QuantizationKind.Keep), CountBlocks(_folder["a.gguf"], null));
        Assert.Equal(0, CountBlocks(_folder["a.gguf"], s_cpu.Quantization));
        Assert.Equal(0, CountBlocks(s_stories, null));
        Assert.Null(new ChatModelOptions { Model = "m" }.Quantization);
    }

    [Fact]
    public void Open_of_a_longer_context_is_the_model_built_from_the_extended_config()
    {
        using var scope = NewDisposeScope();
        var ids = arange(600, ScalarType.Int64).remainder(512).unsqueeze(0);
        using var loaded = LoadedModel.Open(s_stories, s_cpu with { Context = 2048, RopeScaling = "yarn", RopeFactor = 6 });
        var folder = CheckpointDirectory.Open(s_stories);
        using var built = ModelLoader.Load(RopeScaling.Extend(folder.Config, "yarn", 6, 2048), folder);
        Assert.Equal(("yarn", 6.0, 2048), (loaded.Config.RopeScaling.Kind, loaded.Config.RopeScaling.Factor, loaded.Config.MaxPositions));
        Assert.True(PlainLogits(loaded.Network, ids).equal(PlainLogits(built, ids)).all().item<bool>());
    }

    [Fact]
    public void Open_takes_the_positions_of_an_adapter_and_then_those_that_were_asked_for()
    {
        using (var longer = LoadedModel.Open(s_stories, s_cpu with { Context = 1024 }))
        using (var set = AdapterSet.Attach(longer.Network, new AdapterOptions(), 1))
            PeftFormat.Write(_folder.Root, set, longer.Network, "base");
        var attached = s_cpu with { Adapter = _folder.Root };
        using (var loaded = LoadedModel.Open(s_stories, attached))
        {
            Assert.Equal(
                ("yarn", 2.0, 1024),
                (loaded.Config.RopeScaling.Kind, loaded.Config.RopeScaling.Factor, loaded.Config.MaxPositions)
            );
            Assert.NotEmpty(loaded.Adapter!.Adapters);
        }
        using (var further = LoadedModel.Open(s_stories, attached with { Context = 4096 }))
            Assert.Equal((8.0, 4096), (further.Config.RopeScaling.Factor, further.Config.MaxPositions));
    }

    [Fact]
    public void Open_again_of_one_source_gives_models_that_live_apart()
    {
        using var scope = NewDisposeScope();
        var source = ModelSource.Open(s_stories);
        var ids = arange(8, ScalarType.Int64).unsqueeze(0);
        Tensor first;
        using (var loaded = LoadedModel.Open(source, s_cpu))
            first = PlainLogits(loaded.Network, ids);
        using var again = LoadedModel.Open(source, s_cpu);
        Assert.True(first.equal(PlainLogits(again.Network, ids)).all().item<bool>());
    }

    [Fact]
    public void What_nobody_asks_for_stands_in_nobodys_way()
    {
        CopyStories(("chat_template.jinja", "{% extends 'x' %}"));
        File.WriteAllText(_folder["tokenizer.model"], "no tokenizer");
        using (var loaded = LoadedModel.Open(_folder.Root, s_cpu))
            Assert.Throws<CheckpointException>(() => loaded.Tokenizer);
        Assert.Throws<CheckpointException>(() => LoadedModel.Open(_folder.Root, s_cpu with { Template = "auto" }));
        // Before the weights are read, whose file is gone.
        var source = ModelSource.Open(_folder.Root);
        File.Delete(_folder["model.safetensors"]);
        var told = Assert.Throws<ConfigurationException>(() => LoadedModel.Open(source, s_cpu with { Template = "lama2" }));
        Assert.Contains("Did you mean 'llama2'?", told.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Model_that_is_no_folder_has_no_files_and_reads_with_a_tokenizer_of_elsewhere()
    {
        CopyStories(("chat_template.jinja", "{% for m in messages %}{{ m.content }}</s>{% endfor %}"));
        var source = ModelSource.Create(LlamaGoldenTests.TinyConfig with { VocabularySize = 512 }, 3, tokenizer: _folder.Root);
        using var loaded = LoadedModel.Open(source, s_cpu with { Template = "auto" });
        using var again = LoadedModel.Open(source, s_cpu);
        Assert.True(loaded.Network.Embedding.Weight.Value.equal(again.Network.Embedding.Weight.Value).all().item<bool>());
        Assert.Equal(2, loaded.EndOfAnswer.Token);
        Assert.Null(source.Files);
        Assert.Throws<ConfigurationException>(() => loaded.Files);
        var bare = ModelSource.Create(LlamaGoldenTests.TinyConfig, 3);
        Assert.Null(bare.Tokenizer);
        Assert.Equal(LlamaGoldenTests.TinyConfig.EosTokenIds[0], bare.Separator);
        Assert.Throws<CheckpointException>(() => bare.RequireTokenizer());
        Assert.Null(bare.FindTemplate("auto"));
    }

    private static Tensor PlainLogits(CausalLanguageModel model, Tensor ids)
    {
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        return model.ComputeLogits(ids, new ForwardContext(new FullAttention(), positions));
    }
}
