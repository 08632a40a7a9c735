using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

internal static class FeatureSliceExtensions
{
    /// <summary>The slice of a tensor along one dimension, as a view; the whole tensor for null.</summary>
    internal static Tensor Of(this FeatureSlice? slice, Tensor tensor, int dimension) =>
        slice is { } s ? tensor.narrow(dimension, s.Start, s.Count) : tensor;
}

/// <summary>y = x Wᵀ + b with an optional trained update. LoRA, quantized bases, merge and export all work through this class.</summary>
/// <param name="name">Module name without <c>.weight</c>, such as <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="inputSize">I.</param>
/// <param name="outputSize">O.</param>
/// <param name="projection">The matrix.</param>
internal sealed class LinearLayer(string name, long inputSize, long outputSize, IProjection projection)
{
    /// <summary>Module name without <c>.weight</c>, such as <c>model.layers.0.self_attn.q_proj</c>.</summary>
    public string Name { get; } = name;

    /// <summary>I, the size of an input row.</summary>
    public long InputSize { get; } = inputSize;

    /// <summary>O, the size of an output row.</summary>
    public long OutputSize { get; internal set; } = outputSize;

    /// <summary>The share of a text's tokens that reach it: 1, less for an expert.</summary>
    public double Share { get; internal set; } = 1;

    /// <summary>The matrix.</summary>
    public IProjection Projection { get; set; } = projection;

    /// <summary>The trained update, if one is attached.</summary>
    public ILinearUpdate? Update { get; set; }

    /// <summary>[..., I] -> [..., O], or the outputs of a slice.</summary>
    public Tensor Forward(Tensor input, FeatureSlice? outputs = null)
    {
        var shape = input.shape;
        if (shape[^1] != InputSize)
            throw new ShapeException($"{Name} needs rows of {InputSize} numbers, but the input is [{string.Join(", ", shape)}].");
        if (outputs is { Start: 0, Count: var count } && count == OutputSize)
            outputs = null;
        long[] resultShape = [.. shape[..^1], outputs?.Count ?? OutputSize];
        if (SmallWork.Fits(input) && ForwardRow(input, new RowOutputs(this, outputs, resultShape)) is [var row])
            return row;
        using var scope = NewDisposeScope();
        var rows = shape.Length == 2 ? input : input.reshape(-1, InputSize);
        var output = Update is null ? Projection.Forward(rows, outputs) : Update.Forward(Projection, rows, outputs);
        return (shape.Length == 2 ? output : output.view(resultShape)).MoveToOuterDisposeScope();
    }

    /// <summary>Writes the output for rows [N, I] into a tensor [N, O], with the same bits; outside autograd.</summary>
    public void ForwardInto(Tensor rows, Tensor result)
    {
        using var scope = NewDisposeScope();
        if (Update is null && Projection.TryForwardInto(rows, result))
            return;
        result.copy_(Forward(rows));
    }

    /// <summary>
    /// The outputs of several layers for one row, all at once and with no other tensors between them; null if there are more rows or an
    /// update, or if a matrix cannot be read so.
    /// </summary>
    /// <param name="input">One that <see cref="SmallWork"/> takes.</param>
    /// <param name="parts">Layers of this input.</param>
    /// <returns>Contiguous, fp32, on the CPU; in the order of the parts.</returns>
    internal static unsafe Tensor[]? ForwardRow(Tensor input, params RowOutputs[] parts)
    {
        var size = input.numel();
        var writers = new RowProduct.OutputWriter[parts.Length];
        for (var i = 0; i < parts.Length; i++)
        {
            var (layer, outputs, _) = parts[i];
            if (layer.Update is not null || layer.InputSize != size || layer.Projection.FindRowWriter(outputs) is not { } write)
                return null;
            writers[i] = layer.Projection.Bias is { } bias ? RowProduct.AddBias(write, outputs.Of(bias.Value, 0)) : write;
        }
        var results = Array.ConvertAll(parts, part => empty(part.Shape, ScalarType.Float32));
        RowProduct.Run(
            (float*)NativeTensor.GetAddress(input),
            size,
            [.. results.Zip(writers, (result, write) => (result.numel(), write, NativeTensor.GetAddress(result)))]
        );
        GC.KeepAlive(input);
        GC.KeepAlive(results);
        return results;
    }

    /// <summary>Whether <see cref="AccumulateGradients"/> has anything to do.</summary>
    internal bool IsTrained => Update is not null || Projection.IsTrained;

    /// <summary>
    /// Adds the gradients of the trained weights, for rows x [N, I] and the gradient g [N, O] of the output or of some outputs.
    /// </summary>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        if (Update is null)
            Projection.AccumulateGradients(rows, gradient, outputs);
        else
            Update.AccumulateGradients(Projection, rows, gradient, outputs);
    }

    /// <summary>
    /// The gradient of the input for the output's gradient g [N, O], without autograd. It does not need the output, so a layer at the end
    /// of a recomputed chain does not run again.
    /// </summary>
    /// <param name="gradient">g [N, O].</param>
    /// <param name="inputs">Which inputs; null for all.</param>
    /// <param name="outputs">Which outputs the gradient belongs to; null for all.</param>
    /// <returns>[N, I], or the columns of the slice.</returns>
    public Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var result = Update is null
            ? Projection.ComputeInputGradient(gradient, inputs, outputs)
            : Update.ComputeInputGradient(Projection, gradient, inputs, outputs);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The matrix with the update merged in: [O, I] in fp32, rounded once where it is written.</summary>
    public Tensor Merge()
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return (Update?.Merge(Projection) ?? Projection.ToDense()).MoveToOuterDisposeScope();
    }
}
