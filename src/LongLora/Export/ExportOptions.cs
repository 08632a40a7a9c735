using LongLora.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>How weights are written to a Hugging Face folder.</summary>
public sealed record ExportOptions
{
    /// <summary>The type of all weights; null (the default) for their stored types.</summary>
    public ScalarType? Type { get; init; }

    /// <summary>Maximum bytes of tensors in one file. Default 5 GB, as in transformers.</summary>
    public long MaxShardBytes { get; init; } = SafetensorsWriter.DefaultShardBytes;

    /// <summary>Whether to write <c>pytorch_model.bin</c> for programs that cannot read safetensors. Default false.</summary>
    public bool Pickle { get; init; }

    /// <summary>A folder (usually the adapter's) whose tokenizer, if any, replaces the base's. Default null.</summary>
    public string? TokenizerFolder { get; init; }
}
