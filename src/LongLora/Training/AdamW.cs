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
    {
        (_parameters, _options) = (parameters, options);
        using var scope = NewDisposeScope();
        FirstMoment = zeros_like(parameters.Values).DetachFromDisposeScope();
        SecondMoment = zeros_like(parameters.Values).DetachFromDisposeScope();
    }

    /// <summary>Running mean of the gradients, [n] fp32.</summary>
    public Tensor FirstMoment { get; }

    /// <summary>Running mean of their squares, [n] fp32.</summary>
    public Tensor SecondMoment { get; }

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
    /// <param name="norm">The gradients' 2-norm, <see cref="ParameterBuffer.ComputeGradientNorm"/>.</param>
    public void Step(double learningRate, double norm)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        if (_options.MaxGradNorm > 0 && norm > _options.MaxGradNorm)
            Scalars.Multiply(_parameters.Gradients, _options.MaxGradNorm / (norm + 1e-6)); // PyTorch's clip_grad_norm_
        Steps++;
        var step = tensor((float)(Steps - Skipped), device: _parameters.Values.device);
        for (long start = 0; start < _parameters.Count; start += ElementsAtOnce)
        {
            var count = Math.Min(ElementsAtOnce, _parameters.Count - start);
            Tensor Part(Tensor flat) => flat.narrow(0, start, count);
            Dispatcher.FusedAdamW(
                Part(_parameters.Values),
                Part(_parameters.Gradients),
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
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        FirstMoment.Dispose();
        SecondMoment.Dispose();
    }
}
