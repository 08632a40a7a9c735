using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// E experts, N rows, I inputs, O outputs, r rank

/// <summary>
/// LoRA on the matrices of all experts at once, in PEFT's layout: expert e has the rows e r + k of A and the columns k E + e of B.
/// </summary>
/// <param name="parameter">The matrices.</param>
/// <param name="depth">
/// How many other parameters of the same module come after it, which determines the suffix of the module's name in the file.
/// </param>
/// <param name="a">A [E r, I], fp32.</param>
/// <param name="b">B [O, r E], fp32.</param>
/// <param name="scale">s.</param>
internal sealed class ExpertLora(ExpertParameter parameter, int depth, Weight a, Weight b, double scale)
{
    /// <summary>The matrices.</summary>
    internal ExpertParameter Parameter { get; } = parameter;

    /// <summary>A and B.</summary>
    internal IReadOnlyList<Weight> Weights { get; } = [a, b];

    /// <summary>The module's name in the file: each parameter wraps those that come before it in the config.</summary>
    internal string FileName => NameInFile(Parameter.Module, depth);

    /// <inheritdoc cref="FileName"/>
    internal static string NameInFile(string module, int depth) => module + string.Concat(Enumerable.Repeat(PeftReader.BaseLayer, depth));

    /// <summary>The update of each expert's layers.</summary>
    internal IEnumerable<(LinearLayer Layer, ILinearUpdate Update)> MakeUpdates() =>
        Parameter.Experts.SelectMany(
            (layers, expert) => layers.Select(l => (l.Layer, (ILinearUpdate)new OfExpert(this, expert, Parameter.Experts.Count, l.Part)))
        );

    private sealed class OfExpert(ExpertLora stack, int expert, int experts, FeatureSlice? part) : ILinearUpdate
    {
        private Weight A => stack.Weights[0];

        private Weight B => stack.Weights[1];

        private double Scale { get; } = stack.Scale;

        public Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
        {
            using var scope = NewDisposeScope();
            var output = projection.Forward(rows, outputs);
            var narrow = nn.functional.linear(rows, Leaf(A, SelectA).to(rows.dtype)); // [N, I] -> [N, r]
            output.addmm_(narrow, outputs.Of(Leaf(B, SelectB), 0).to(rows.dtype).t(), 1, (float)Scale);
            return output.MoveToOuterDisposeScope();
        }

        public void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
        {
            using var scope = NewDisposeScope();
            projection.AccumulateGradients(rows, gradient, outputs);
            if (B.IsTrained)
                Add(outputs.Of(SelectB(B.GetGradient()), 0), gradient.t().mm(rows.mm(SelectA(A.Value).to(rows.dtype).t())));
            if (A.IsTrained)
                Add(SelectA(A.GetGradient()), gradient.mm(outputs.Of(SelectB(B.Value), 0).to(rows.dtype)).t().mm(rows));
        }

        public Tensor ComputeInputGradient(
            IProjection projection,
            Tensor gradient,
            FeatureSlice? inputs = null,
            FeatureSlice? outputs = null
        )
        {
            using var scope = NewDisposeScope();
            var result = projection.ComputeInputGradient(gradient, inputs, outputs);
            var narrow = gradient.mm(outputs.Of(SelectB(B.Value), 0).to(gradient.dtype));
            result.addmm_(narrow, inputs.Of(SelectA(A.Value), 1).to(gradient.dtype), 1, (float)Scale);
            return result.MoveToOuterDisposeScope();
        }

        public Tensor Merge(IProjection projection)
        {
            using var noGradient = no_grad();
            using var scope = NewDisposeScope();
            return projection.ToDense().add_(SelectB(B.Value).mm(SelectA(A.Value)), Scalars.Of(Scale)).detach().MoveToOuterDisposeScope();
        }

        // [E r, I] -> [r, I]
        private Tensor SelectA(Tensor all)
        {
            var rank = all.size(0) / experts;
            return all.narrow(0, expert * rank, rank);
        }

        // [O, r E] -> [O, r], or the rows of a part
        private Tensor SelectB(Tensor all) => part.Of(all.view(all.size(0), -1, experts).select(2, expert), 0);

        private void Add(Tensor target, Tensor value) => target.add_(value.to(target.dtype), Scalars.Of(Scale));

        // A separate leaf, whose gradient is a part of the full one. The gradient of a view would be as large as all experts.
        private static Tensor Leaf(Weight weight, Func<Tensor, Tensor> select)
        {
            var own = select(weight.Value.detach());
            if (weight.IsTrained && is_grad_enabled())
            {
                own.requires_grad_(true);
                own.grad = select(weight.GetGradient());
            }
            return own;
        }
    }

    private double Scale { get; } = scale;
}
