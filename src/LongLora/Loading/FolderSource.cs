using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Quantization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>A Hugging Face model folder.</summary>
internal sealed class FolderSource(string path) : ModelSource
{
    private readonly CheckpointDirectory _files = CheckpointDirectory.Open(path, headersOnly: true);

    public override string Name => Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));

    public override string Location => path;

    public override ModelConfig Config => _files.Config;

    public override CheckpointDirectory Files => _files;

    private protected override string TextFolder => path;

    // Opened anew for each network, which closes its files with itself.
    internal override CausalLanguageModel Build(ModelConfig config, Device device, QuantizationKind quantization)
    {
        var weights = CheckpointDirectory.Open(path);
        try
        {
            return ModelLoader.Load(config, weights, device, quantization);
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }
}
