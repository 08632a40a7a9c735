using System.Text.Json;
using System.Text.Json.Serialization;

namespace LongLora.Training;

/// <summary>The metrics of one optimizer step; one line of <c>metrics.jsonl</c>.</summary>
public sealed record TrainingStep
{
    /// <summary>Number of this step, from 1.</summary>
    public required int Step { get; init; }

    /// <summary>Steps of the whole run.</summary>
    public required int Steps { get; init; }

    /// <summary>Mean loss in nats per token, before the step.</summary>
    public required double Loss { get; init; }

    /// <summary>Learning rate of the step.</summary>
    public required double LearningRate { get; init; }

    /// <summary>2-norm of all gradients before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>
    /// Whether the step was skipped because its gradient norm was far above those before (<c>skip-spikes</c>). Default false; then it is
    /// not in <c>metrics.jsonl</c>.
    /// </summary>
    [JsonPropertyName("skipped"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public bool IsSkipped { get; init; }

    /// <summary>Tokens seen since the beginning of the run.</summary>
    public required long Tokens { get; init; }

    /// <summary>Tokens per second in this step.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Time since this process started to train.</summary>
    [JsonPropertyName("elapsed_seconds"), JsonConverter(typeof(SecondsConverter))]
    public required TimeSpan Elapsed { get; init; }

    /// <summary>Resident memory of the process in bytes; on CUDA memory in use on the device.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>The largest so far in bytes.</summary>
    public required long PeakMemoryBytes { get; init; }

    private sealed class SecondsConverter : JsonConverter<TimeSpan>
    {
        public override TimeSpan Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            TimeSpan.FromSeconds(reader.GetDouble());

        public override void Write(Utf8JsonWriter writer, TimeSpan value, JsonSerializerOptions options) =>
            writer.WriteNumberValue(value.TotalSeconds);
    }
}
