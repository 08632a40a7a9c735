using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>The folder of a Hugging Face model.</summary>
internal sealed class FolderSource(string path, string? name = null) : ModelSource
{
    private readonly CheckpointDirectory _files = OpenChecked(path);

    public override string Name => name ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));

    public override string Location => path;

    public override ModelConfig Config => _files.Config;

    internal override IModelFiles Files => _files;

    internal override IReadOnlyList<int> FurtherEnds => GenerationConfig.ReadEnds(path);

    internal override IReadOnlyList<string> TextFiles => ListTextFiles(path);

    private protected override ITokenizer? ReadTokenizer() => TokenizerLoader.LoadIfPresent(path);

    private protected override ChatTemplate? ReadTemplate() => ChatTemplate.ReadOfModel(path);

    // Opens the weights again for each network, which closes them when it is disposed.
    internal override CausalLanguageModel Build(ModelConfig config, Device device, QuantizationKind quantization, ICommunicator? among)
    {
        var weights = CheckpointDirectory.Open(path);
        try
        {
            Checksums.Verify(path, IsOfWeights);
            return ModelLoader.Load(config, weights, device, quantization, among);
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>The tokenizer of a folder, which needs no model beside it.</summary>
    internal static ITokenizer LoadTokenizer(string path)
    {
        Checksums.Verify(path, name => !IsOfWeights(name));
        return TokenizerLoader.Load(path);
    }

    // The weights are checked when they are used: a plan, or a list of what a folder holds, should not have to read them.
    private static CheckpointDirectory OpenChecked(string path)
    {
        Checksums.Verify(path, name => !IsOfWeights(name));
        return CheckpointDirectory.Open(path, headersOnly: true);
    }

    private static bool IsOfWeights(string name) => Path.GetExtension(name) is ".safetensors" or ".bin";
}
