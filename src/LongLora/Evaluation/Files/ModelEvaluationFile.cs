using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>The results of one model, with or without an adapter.</summary>
internal abstract record ModelEvaluationFile : EvaluationFile
{
    private protected ModelEvaluationFile(string kind)
        : base(kind) { }

    /// <summary>Folder of the model, as given; null if the file does not say.</summary>
    [JsonPropertyOrder(-2)]
    public string? Model { get; init; }

    /// <summary>Folder of the adapter, as given; null for none.</summary>
    [JsonPropertyOrder(-1)]
    public string? Adapter { get; init; }

    /// <summary>The number format of products, fp32 or bf16; null if the file does not say.</summary>
    [JsonPropertyOrder(-1)]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Compute { get; init; }
}
