using LongLora.Distributed;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>The sum of the gradients of all micro-batches of a step, over rounds and ranks: exact or in fp32, whole or divided.</summary>
/// <param name="parameters">Where a micro-batch leaves its gradients, and where the sum comes.</param>
/// <param name="ranks">The ranks that share the micro-batches.</param>
/// <param name="shards">Who has which part of the sum; null if all have the whole.</param>
/// <param name="isExact">Whether gradients are added as whole numbers.</param>
internal sealed class GradientSum(ParameterBuffer parameters, ICommunicator ranks, OptimizerShards? shards, bool isExact) : IDisposable
{
    private readonly ExactSum? _exact = isExact && shards is null ? new ExactSum(parameters.Gradients) : null;
    private readonly DividedSum? _divided = isExact && shards is not null ? new DividedSum(parameters.Gradients, shards) : null;

    /// <summary>Ends a round: each rank has taken at most one micro-batch. All ranks call it.</summary>
    /// <param name="hasGradients">Whether this rank has taken one.</param>
    /// <param name="limit">See <see cref="ExactSum.Add"/>.</param>
    /// <returns>Whether this rank's gradients could be added.</returns>
    internal bool EndRound(bool hasGradients, double limit) =>
        _divided?.Add(parameters.Gradients, limit) ?? (!hasGradients || _exact?.Add(parameters.Gradients, limit) != false);

    /// <summary>Puts the sum in the place of the gradients: all of it, or this rank's part, the rest then being undefined.</summary>
    internal void Finish()
    {
        using var noGradient = no_grad();
        if (_divided is not null)
            _divided.MoveTo(parameters.Gradients);
        else if (_exact is not null)
        {
            ranks.AllReduce(_exact.Total, Reduction.Sum).Wait();
            _exact.MoveTo(parameters.Gradients);
        }
        else if (shards is not null)
            ranks.ReduceScatter(parameters.Gradients, shards.Borders).Wait();
        else
            ranks.AllReduce(parameters.Gradients, Reduction.Sum).Wait();
    }

    /// <summary>Forgets all gradients of the step.</summary>
    internal void Clear()
    {
        parameters.ClearGradients();
        _exact?.Clear();
        _divided?.Clear();
    }

    public void Dispose()
    {
        _exact?.Dispose();
        _divided?.Dispose();
    }
}
