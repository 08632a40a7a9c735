using LongLora.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>The form of a model's weights in a Hugging Face folder.</summary>
public sealed record ExportOptions
{
    /// <summary>The type of all weights; null (the default) for those in which they are stored.</summary>
    public ScalarType? Type { get; init; }

    /// <summary>Most bytes of tensors in one file. Default 5 GB, as transformers has it.</summary>
    public long MaxShardBytes { get; init; } = SafetensorsWriter.DefaultShardBytes;

    /// <summary>Whether to write <c>pytorch_model.bin</c> for programs that are too old for safetensors. Default false.</summary>
    public bool Pickle { get; init; }

    /// <summary>A folder whose tokenizer, if it has one, takes the place of the base's: that of the adapter. Default null.</summary>
    public string? TokenizerFolder { get; init; }
}
