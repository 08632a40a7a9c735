using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// Matrices in the type of a model's products. A matrix in another type is converted for each product, which takes a good part of a
/// product's own time in bf16; these convert it once.
/// </summary>
internal static class ProductWeights
{
    /// <summary>
    /// Replaces matrices that nobody trains by copies in bf16, if the model computes in it: frozen weights are then held once, in the type
    /// of the products. Call it when what is trained has been decided; what is merged or exported afterwards has the rounded values.
    /// </summary>
    internal static void HoldFrozen(CausalLanguageModel model)
    {
        if (model.ComputeType != ScalarType.BFloat16)
            return;
        using var noGradient = no_grad();
        foreach (var weight in ListMatrices(model).Where(w => !w.IsTrained && IsWiderOrOther(w)).Distinct().ToList())
        {
            using var scope = NewDisposeScope();
            if (weight.Stored.IsDivided)
            {
                model.Divided!.Convert(weight.Stored, ScalarType.BFloat16);
                continue;
            }
            weight.Replace(HostMemory.AllocateApart(() => weight.Value.to(ScalarType.BFloat16)));
        }
    }

    /// <summary>
    /// Makes copies of trained matrices for one pass, in which their values do not change, if the model computes in another type. On a GPU
    /// only of the head, because its memory is short and converting is fast.
    /// </summary>
    /// <returns>Removes the copies.</returns>
    internal static IDisposable PrepareTrained(CausalLanguageModel model)
    {
        var isOnGpu = model.Device.type != DeviceType.CPU;
        var layers = isOnGpu ? [model.Head] : model.Linears.Append(model.Head);
        var projections = layers
            .Select(l => l.Projection)
            .OfType<DenseProjection>()
            .Where(p => p.Weight.IsTrained && p.Weight.Value.dtype != model.ComputeType)
            .Distinct()
            .ToList();
        foreach (var projection in projections)
            projection.Prepare(model.ComputeType);
        return new Prepared(projections);
    }

    private static bool IsWiderOrOther(Weight weight) => weight.Stored.Type is ScalarType.Float32 or ScalarType.Float16;

    private static IEnumerable<Weight> ListMatrices(CausalLanguageModel model)
    {
        foreach (var projection in model.Linears.Append(model.Head).Select(l => l.Projection))
        {
            if (projection is DenseProjection dense)
                yield return dense.Weight;
            if (projection is StackedProjection stacked)
                yield return stacked.Stack;
            if (projection.Bias is { } bias)
                yield return bias;
        }
    }

    private sealed class Prepared(IReadOnlyList<DenseProjection> projections) : IDisposable
    {
        public void Dispose()
        {
            foreach (var projection in projections)
                projection.Forget();
        }
    }
}
