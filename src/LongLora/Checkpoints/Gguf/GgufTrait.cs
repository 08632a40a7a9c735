using LongLora.Configs;

namespace LongLora.Checkpoints;

/// <summary>
/// Something that a family's files say beyond what all do: keys, and what they mean for the model, both ways. A trait without keys is what
/// engines take for granted.
/// </summary>
/// <param name="Write">The keys of a model, without the architecture's prefix.</param>
/// <param name="Read">The model that a file describes, from what is known of it so far.</param>
internal sealed record GgufTrait(
    Func<ModelConfig, IEnumerable<(string Name, object Value)>> Write,
    Func<GgufMetadata, ModelConfig, ModelConfig> Read
)
{
    /// <summary>What engines take for granted.</summary>
    public static GgufTrait Fact(Func<ModelConfig, ModelConfig> read) => new(_ => [], (_, config) => read(config));

    /// <summary>One number.</summary>
    /// <param name="name">The key.</param>
    /// <param name="write">The number of a model; null to leave the key out.</param>
    /// <param name="read">The model with the number, null where the file has no such key.</param>
    public static GgufTrait Number(string name, Func<ModelConfig, double?> write, Func<ModelConfig, double?, ModelConfig> read) =>
        new(
            config => write(config) is { } number ? [(name, (float)number)] : [],
            (keys, config) => read(config, keys.NumberOrNull(keys.Prefix + name, 0))
        );
}
