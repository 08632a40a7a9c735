using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Models;

// S sinks, W window, l new tokens, r tokens in the ring, n visible keys, H heads, J key-value heads, K head size

/// <summary>What a model keeps of a streamed text (StreamingLLM, arXiv 2309.17453).</summary>
public sealed record StreamingOptions
{
    /// <summary>
    /// S, the first tokens of the text, which are never forgotten: attention without a better target goes to them. Default 4.
    /// </summary>
    public int SinkTokens { get; init; } = 4;

    /// <summary>
    /// W, the last tokens of the text, including the current one. Default null: as many as fit into the model's context besides the sinks.
    /// </summary>
    public int? Window { get; init; }

    /// <summary>W for a model.</summary>
    /// <exception cref="ConfigurationException">Sinks and window do not fit into the model's context.</exception>
    public int GetWindow(ModelConfig config)
    {
        var plans = Enumerable.Range(0, config.LayerCount).Select(config.GetLayer).ToList();
        if (
            plans.Any(p => p.Rotation != LayerRotation.Main || p.IsLinear || p.KeysOf is not null || p.HeadSize != config.HeadSize)
            || config.InterleavedRotation
            || config.RopeScaling.QueryGrowth is not null
            || config.ScoreCap is not null
            || config.ModelType is "gpt_oss" or "hunyuan_v1_dense"
        )
            throw new ConfigurationException(
                $"Cannot stream with a {config.ModelType} model because streaming requires all layers to have plain attention and "
                    + "the same rotary positions. Stay within the model's context."
            );
        var context = RopeScaling.GetCurrentContext(config);
        var narrowest = Enumerable.Range(0, config.LayerCount).Select(config.GetWindow).Min() ?? int.MaxValue;
        var window = Window ?? Math.Min(context, narrowest) - SinkTokens;
        if (SinkTokens < 0 || window < 1)
            throw new ConfigurationException(
                $"Cannot stream with {SinkTokens} sink tokens and a window of {window}; the model's context has {context:N0} tokens. "
                    + "Give 0 or more sinks that leave at least 1 token for the window."
            );
        if ((long)SinkTokens + window > context)
            throw new ConfigurationException(
                $"{SinkTokens} sink tokens and a window of {window:N0} need {SinkTokens + (long)window:N0} positions, but the "
                    + $"model supports {context:N0}. Use a smaller window."
            );
        if ((long)SinkTokens + window > narrowest)
            throw new ConfigurationException(
                $"{SinkTokens} sink tokens and a window of {window:N0} do not fit into the model's sliding window of "
                    + $"{narrowest:N0} tokens. Use a smaller window."
            );
        return window;
    }
}
