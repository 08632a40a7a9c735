using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>AdamW (arXiv 1711.05101) over a <see cref="ParameterBuffer"/>: one fused pass, fp32 moments.</summary>
public sealed class AdamW : IDisposable
{
    private readonly ParameterBuffer _parameters;
    private readonly AdamWOptions _options;

    /// <summary>Begins with zero moments.</summary>
    public AdamW(ParameterBuffer parameters, AdamWOptions options)
        : this(parameters, options, null) { }

    /// <summary>Begins with zero moments, of which each rank has its part.</summary>
    internal AdamW(ParameterBuffer parameters, AdamWOptions options, OptimizerShards? shards)
    {
        (_parameters, _options, Shards) = (parameters, options, shards);
        using var scope = NewDisposeScope();
        var mine = shards?.Own(parameters.Values) ?? parameters.Values;
        FirstMoment = zeros_like(mine).DetachFromDisposeScope();
        SecondMoment = zeros_like(mine).DetachFromDisposeScope();
    }

    /// <summary>Running mean of the gradients, [n] fp32; of a run that divides it among ranks, this rank's part.</summary>
    public Tensor FirstMoment { get; }

    /// <summary>Running mean of their squares, in the same form.</summary>
    public Tensor SecondMoment { get; }

    /// <summary>Who has which part of the moments; null if every rank has the whole.</summary>
    internal OptimizerShards? Shards { get; }

    /// <summary>Elements in one call: CUDA's kernel counts in 32 bits.</summary>
    internal long ElementsAtOnce { get; init; } = 1 << 30;

    /// <summary>Steps taken.</summary>
    public long Steps { get; set; }

    /// <summary>How many of the steps were skipped: they changed nothing, and the bias correction does not count them.</summary>
    internal long Skipped { get; set; }

    /// <summary>Counts a step without taking it, and clears the gradients.</summary>
    internal void Skip()
    {
        Steps++;
        Skipped++;
        _parameters.ClearGradients();
    }

    /// <summary>Clips the gradients, takes one step and clears them.</summary>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="norm">The gradients' 2-norm, <see cref="ParameterBuffer.ComputeGradientNorm()"/>.</param>
    public void Step(double learningRate, double norm)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        if (_options.MaxGradNorm > 0 && norm > _options.MaxGradNorm)
            Scalars.Multiply(_parameters.Gradients, _options.MaxGradNorm / (norm + 1e-6)); // PyTorch's clip_grad_norm_
        Steps++;
        var step = tensor((float)(Steps - Skipped), device: _parameters.Values.device);
        Tensor Own(Tensor all) => Shards?.Own(all) ?? all;
        var (values, gradients) = (Own(_parameters.Values), Own(_parameters.Gradients));
        for (long start = 0; start < values.numel(); start += ElementsAtOnce)
        {
            var count = Math.Min(ElementsAtOnce, values.numel() - start);
            Tensor Part(Tensor flat) => flat.narrow(0, start, count);
            Dispatcher.FusedAdamW(
                Part(values),
                Part(gradients),
                Part(FirstMoment),
                Part(SecondMoment),
                step,
                learningRate,
                _options.Beta1,
                _options.Beta2,
                _options.WeightDecay,
                _options.Epsilon
            );
        }
        _parameters.ClearGradients();
        Shards?.Ranks.AllGather(_parameters.Values, Shards.Borders).Wait();
    }

    /// <summary>Rank 0 works, and may read and fill the moments of all ranks meanwhile. All ranks call it.</summary>
    /// <inheritdoc cref="RankWork.OnRoot{T}" path="/param|/exception"/>
    internal T OnRoot<T>(ICommunicator communicator, string what, Func<T> work) =>
        Shards is null ? communicator.OnRoot(what, work) : Shards.OnRoot([FirstMoment, SecondMoment], what, work);

    /// <summary>Both moments of all ranks, piece by piece; each piece is valid until the next one is taken.</summary>
    internal (IEnumerable<Tensor> First, IEnumerable<Tensor> Second) ReadMoments() =>
        Shards is null ? ([FirstMoment], [SecondMoment]) : (Shards.Collect(0, FirstMoment), Shards.Collect(1, SecondMoment));

    /// <summary>Fills the moments of all ranks from whole ones, [n] fp32 each.</summary>
    internal void FillMoments(Tensor first, Tensor second)
    {
        if (Shards is null)
        {
            FirstMoment.copy_(first);
            SecondMoment.copy_(second);
            return;
        }
        Shards.Distribute(0, FirstMoment, first);
        Shards.Distribute(1, SecondMoment, second);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        FirstMoment.Dispose();
        SecondMoment.Dispose();
    }
}
