using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;

namespace LongLora.Training;

/// <summary>The rotary tables of a training run, created on first use and kept for the whole run.</summary>
/// <param name="model">Gives the config and the device.</param>
internal sealed class PositionTables(CausalLanguageModel model) : IDisposable
{
    private readonly Dictionary<(int Context, int Start, int Count), RotaryEmbedding> _tables = [];

    /// <summary>The config whose positions these are.</summary>
    internal ModelConfig Config => model.Config;

    /// <summary>Positions 0, 1, ... scaled for a text of <paramref name="context"/> tokens; they stay this object's.</summary>
    internal RotaryEmbedding GetTables(int context) => GetTables(context, 0, context);

    /// <summary>Some of these positions; they stay this object's.</summary>
    internal RotaryEmbedding GetTables(int context, int start, int count)
    {
        var key = (context, start, count);
        if (!_tables.TryGetValue(key, out var tables))
            _tables[key] = tables = RotaryEmbedding.Create(model.Config, count, model.Device, context, start);
        return tables;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tables in _tables.Values)
            tables.Dispose();
    }
}
