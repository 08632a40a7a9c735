using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Export;

/// <summary>Every family out to GGUF and in again: the same model. llama.cpp itself reads the same files in its own test program.</summary>
public sealed class GgufFamilyTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static Tensor Logits(CausalLanguageModel model, int length)
    {
        using var generator = new Generator(5, CPU);
        var ids = randint(0, model.Config.VocabularySize, [2, length], ScalarType.Int64, generator: generator);
        using var positions = RotaryEmbedding.Create(model.Config, length);
        return model.ComputeLogits(ids, new ForwardContext(new FullAttention(), positions));
    }

    private string Export(string name, GgufFileType type = GgufFileType.F32)
    {
        GgufFamilies.Write(_folder["model"], name);
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(folder.Config, folder);
        GgufExporter.Write(_folder["a.gguf"], model, folder, type, withTokenizer: false);
        return _folder["a.gguf"];
    }

    // The file has the divisors of Llama 3's positions in fp32, and -e^A for A; 64 layers make more of it.
    private static double ToleranceOf(string name) => name is "exaone4_windows" or "qwen3_5" or "gemma4" ? 1e-5 : 2e-6;

    [Theory]
    [MemberData(nameof(GgufFamilies.Names), MemberType = typeof(GgufFamilies))]
    public void Exported_and_read_again_it_is_the_same_model(string name)
    {
        using var scope = NewDisposeScope();
        var path = Export(name);
        using var origin = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(origin.Config, origin);
        using var file = GgufModel.Open(path);
        Assert.Equal(GgufFamilies.ArchitectureOf(name), file.Architecture);
        Assert.Equal(model.Config.ModelType, file.Config.ModelType);
        var expected = Logits(model, 44);
        using (var again = ModelLoader.Load(file.Config, file.Weights))
            Near.AssertRelative(expected, Logits(again, 44), ToleranceOf(name), name);

        // As a Hugging Face folder, whose config is read from its text.
        using var opened = GgufModel.Open(path);
        GgufImporter.Write(_folder["imported"], opened);
        using var imported = CheckpointDirectory.Open(_folder["imported"]);
        using var third = ModelLoader.Load(imported.Config, imported);
        Assert.Equal(model.Weights.Select(w => w.Name).Order(), third.Weights.Select(w => w.Name).Order());
        Near.AssertRelative(expected, Logits(third, 44), ToleranceOf(name), name);
        foreach (var weight in model.Weights)
            Near.AssertRelative(weight.Value, third.Weights.Single(w => w.Name == weight.Name).Value, 1e-6, weight.Name);
    }
}
