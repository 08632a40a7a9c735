using LongLora.Configs;
using LongLora.Positions;

namespace LongLora.Export;

/// <summary>
/// Whether a GGUF file describes the model that it was made of: what engines would take from its keys against the model itself, part by
/// part. What GGUF cannot say shows here as a difference.
/// </summary>
internal static class GgufSameness
{
    // Keys are fp32.
    private const double Near = 2e-6;

    /// <summary>The first difference in words; null for none.</summary>
    /// <param name="model">The model.</param>
    /// <param name="file">What the file says.</param>
    public static string? FindDifference(ModelConfig model, ModelConfig file)
    {
        foreach (var (name, ours, theirs) in Numbers(model, file))
        {
            if (Math.Abs(ours - theirs) > Near * Math.Max(Math.Abs(ours), Math.Abs(theirs)))
                return FormattableString.Invariant($"{name} is {ours:G6} in the model and {theirs:G6} to engines");
        }
        for (var layer = 0; layer < model.LayerCount; layer++)
        {
            if (FindDifference(model, file, layer) is { } difference)
                return $"in layer {layer}, {difference}";
        }
        return null;
    }

    private static IEnumerable<(string Name, double Ours, double Theirs)> Numbers(ModelConfig model, ModelConfig file)
    {
        (string, double, double) Of(string name, Func<ModelConfig, double> part) => (name, part(model), part(file));
        yield return Of("the width", c => c.HiddenSize);
        yield return Of("the number of heads", c => c.HeadCount);
        yield return Of("the epsilon of norms", c => c.NormEpsilon);
        yield return Of("the factor on embeddings", c => c.EmbeddingFactor);
        yield return Of("the factor on scores", c => c.AttentionScale ?? 1 / Math.Sqrt(c.HeadSize));
        yield return Of("the factor on branches", c => c.ResidualFactor);
        yield return Of("the factor on logits", c => c.LogitFactor);
        yield return Of("the cap on scores (0: none)", c => c.ScoreCap ?? 0);
        yield return Of("the cap on logits (0: none)", c => c.LogitCap ?? 0);
        yield return Of("the bound of activations (0: none)", c => c.ActivationLimit ?? 0);
        yield return Of("the slope of activations", c => c.ActivationSlope);
        yield return Of("the growth of queries (0: none)", c => c.RopeScaling.QueryGrowth ?? 0);
        yield return Of("the context of that growth", c => c.RopeScaling.QueryGrowth > 0 ? RopeScaling.GetOriginalContext(c) : 0);
        yield return Of("interleaved rotation (1: yes)", c => c.InterleavedRotation ? 1 : 0);
        yield return Of("parallel branches (1: yes)", c => c.ParallelResidual ? 1 : 0);
        yield return Of("the number of experts", c => c.Experts?.Count ?? 0);
        yield return Of("experts per token", c => c.Experts?.PerToken ?? 0);
        yield return Of("the width of experts", c => c.Experts?.Size ?? 0);
        yield return Of("weights of experts that add up to 1 (1: yes)", c => c.Experts is { NormalizeWeights: false } ? 0 : 1);
        yield return Of("the input of each token for each layer", c => c.TokenInputs?.Size ?? 0);
        yield return Of("key heads of the recurrence", c => c.LinearAttention?.KeyHeadCount ?? 0);
        yield return Of("value heads of the recurrence", c => c.LinearAttention?.ValueHeadCount ?? 0);
        yield return Of("key size of the recurrence", c => c.LinearAttention?.KeySize ?? 0);
        yield return Of("value size of the recurrence", c => c.LinearAttention?.ValueSize ?? 0);
        yield return Of("the convolution of the recurrence", c => c.LinearAttention?.ConvolutionSize ?? 0);
    }

    private static string? FindDifference(ModelConfig model, ModelConfig file, int layer)
    {
        var (ours, theirs) = (model.GetLayer(layer), file.GetLayer(layer));
        // A window that the context does not reach beyond does nothing.
        int? Window(LayerPlan plan) => plan.Window < file.MaxPositions ? plan.Window : null;
        string Say(string name, object? here, object? there) => $"{name} is {here ?? "none"} in the model and {there ?? "none"} to engines";
        if (Window(ours) != Window(theirs))
            return Say("the window", Window(ours), Window(theirs));
        if (ours.HeadSize != theirs.HeadSize || ours.KeyValueHeadCount != theirs.KeyValueHeadCount)
            return Say(
                "the shape of keys",
                $"{ours.KeyValueHeadCount} x {ours.HeadSize}",
                $"{theirs.KeyValueHeadCount} x {theirs.HeadSize}"
            );
        if (ours.IntermediateSize != theirs.IntermediateSize && !(ours.HasExperts && theirs.HasExperts))
            return Say("the width of the MLP", ours.IntermediateSize, theirs.IntermediateSize);
        if (ours.HasExperts != theirs.HasExperts)
            return Say("the MLP", ours.HasExperts ? "a mixture" : "dense", theirs.HasExperts ? "a mixture" : "dense");
        if (ours.IsLinear != theirs.IsLinear || ours.KeysOf != theirs.KeysOf || ours.ValuesAreKeys != theirs.ValuesAreKeys)
            return "attention is of another kind to engines";
        return ours.IsLinear ? null : FindDifference(Frequencies(model, ours.Rotation), Frequencies(file, theirs.Rotation));
    }

    private static RopeFrequencies? Frequencies(ModelConfig config, LayerRotation rotation) =>
        rotation switch
        {
            LayerRotation.None => null,
            LayerRotation.Local => RopeScaling.ComputeFrequencies(RopeScaling.MakeLocal(config), config.MaxPositions),
            _ => RopeScaling.ComputeFrequencies(config, config.MaxPositions),
        };

    private static string? FindDifference(RopeFrequencies? ours, RopeFrequencies? theirs)
    {
        if (ours is null || theirs is null)
            return ours is null == theirs is null ? null : $"engines compute {(ours is null ? "" : "no ")}positions";
        if (ours.Inverse.Length != theirs.Inverse.Length)
            return $"engines rotate {2 * theirs.Inverse.Length} numbers of a head, and the model {2 * ours.Inverse.Length}";
        var far = ours.Inverse.Zip(theirs.Inverse).Max(pair => Math.Abs(pair.First - pair.Second) / Math.Max(pair.First, 1e-20));
        if (far > 10 * Near)
            return FormattableString.Invariant($"the frequencies of positions are up to {100 * far:G3} % off to engines");
        return Math.Abs(ours.AttentionFactor / theirs.AttentionFactor - 1) > Near
            ? FormattableString.Invariant($"the attention factor is {ours.AttentionFactor:G6} and {theirs.AttentionFactor:G6} to engines")
            : null;
    }
}
