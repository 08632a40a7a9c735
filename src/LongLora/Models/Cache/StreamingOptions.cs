using LongLora.Configs;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Models;

// S sinks, W window, l new tokens, r tokens in the ring, n keys that are looked at, H heads, J key-value heads, K head size

/// <summary>What a model keeps of an endless text (StreamingLLM, arXiv 2309.17453).</summary>
public sealed record StreamingOptions
{
    /// <summary>S, first tokens of the text that are never forgotten: attention that has nowhere to go rests on them. Default 4.</summary>
    public int SinkTokens { get; init; } = 4;

    /// <summary>
    /// W, last tokens of the text, the one that is read included. Default null: as many as fit into the model's context beside the sinks.
    /// </summary>
    public int? Window { get; init; }

    /// <summary>W for a model.</summary>
    /// <exception cref="ConfigurationException">Sinks and window are not inside the model's context.</exception>
    public int GetWindow(ModelConfig config)
    {
        var context = RopeScaling.GetCurrentContext(config);
        var narrowest = Enumerable.Range(0, config.LayerCount).Select(config.GetWindow).Min() ?? int.MaxValue;
        var window = Window ?? Math.Min(context, narrowest) - SinkTokens;
        if (SinkTokens < 0 || window < 1)
            throw new ConfigurationException(
                $"Streaming needs 0 sink tokens or more and a window of at least 1; seen {SinkTokens} and {window}."
            );
        if ((long)SinkTokens + window > context)
            throw new ConfigurationException(
                $"{SinkTokens} sink tokens and a window of {window:N0} need {SinkTokens + (long)window:N0} positions; the model has "
                    + $"learnt {context:N0}. Take a smaller window."
            );
        if ((long)SinkTokens + window > narrowest)
            throw new ConfigurationException(
                $"The model's layers look at {narrowest:N0} tokens (sliding window); sinks and window of streaming must fit in, and are "
                    + $"{SinkTokens} and {window:N0}."
            );
        return window;
    }
}
