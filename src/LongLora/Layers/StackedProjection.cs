using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// E experts, N rows, I inputs, O outputs

/// <summary>One expert's matrix inside the tensor of all experts.</summary>
/// <param name="stack">[E, O, I], or [E, I, O].</param>
/// <param name="index">Index of the expert.</param>
/// <param name="isTransposed">Whether the stack is [E, I, O].</param>
internal sealed class StackedProjection(Weight stack, int index, bool isTransposed) : IProjection
{
    /// <summary>The matrices of all experts.</summary>
    public Weight Stack { get; } = stack;

    /// <summary>None, because experts have their biases elsewhere.</summary>
    public Weight? Bias => null;

    /// <inheritdoc/>
    public bool IsTrained => Stack.IsTrained;

    /// <summary>That of all experts.</summary>
    public IReadOnlyList<StoredTensor> Stored => [Stack.Stored];

    /// <inheritdoc/>
    public Tensor Forward(Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var own = Stack.Value.select(0, index);
        if (Stack.IsTrained && is_grad_enabled())
        {
            // A separate leaf whose gradient is a part of the stack's gradient. The gradient of a part would be as large as all experts.
            own = own.detach().requires_grad_(true);
            own.grad = Stack.GetGradient().select(0, index);
        }
        return Products.Linear(rows, outputs.Of(Turn(own), 0)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        if (!Stack.IsTrained)
            return;
        using var scope = NewDisposeScope();
        DenseProjection.AddProduct(outputs.Of(Turn(Stack.GetGradient().select(0, index)), 0), gradient.t(), rows, 1);
    }

    /// <inheritdoc/>
    public Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var used = outputs.Of(inputs.Of(Turn(Stack.Value.detach().select(0, index)), 1), 0);
        return gradient.Times(used.In(gradient.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor ToDense()
    {
        using var scope = NewDisposeScope();
        return Turn(Stack.Value.detach().select(0, index)).to(ScalarType.Float32, copy: true).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The expert's matrix [O, I]; a view of the stack.</summary>
    internal Tensor GetMatrix() => Turn(Stack.Value.select(0, index));

    private Tensor Turn(Tensor own) => isTransposed ? own.t() : own;
}
