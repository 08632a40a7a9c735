using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Layers;
using LongLora.Models;

namespace LongLora.Adapters;

/// <summary>
/// One matrix of all experts of a layer, [E, O, I], under transformers 5's name, which PEFT's <c>target_parameters</c> uses. A checkpoint
/// may store it in parts, such as one per expert, or the two halves of the gate separately.
/// </summary>
/// <param name="Module">Name of its module, such as <c>model.layers.0.mlp.experts</c>.</param>
/// <param name="Name">Its name there, <c>gate_up_proj</c> or <c>down_proj</c>.</param>
/// <param name="Inputs">I.</param>
/// <param name="Outputs">O.</param>
/// <param name="Experts">The layers of each expert, and which outputs each computes; null for all.</param>
internal sealed partial record ExpertParameter(
    string Module,
    string Name,
    long Inputs,
    long Outputs,
    IReadOnlyList<IReadOnlyList<(LinearLayer Layer, FeatureSlice? Part)>> Experts
)
{
    /// <summary>Module and name.</summary>
    internal string FullName => $"{Module}.{Name}";

    /// <summary>All of a model's, except those whose tensor is [E, I, O] (gpt-oss), because PEFT's layout for these is unknown.</summary>
    internal static IReadOnlyList<ExpertParameter> List(CausalLanguageModel model)
    {
        var transposed = model.Stacks.Where(s => s.IsTransposed).SelectMany(s => s.Layers).ToHashSet();
        return
        [
            .. model
                .Linears.Where(l => !transposed.Contains(l))
                .Select(l => (Layer: l, Name: LayerName().Match(l.Name)))
                .Where(l => l.Name.Success)
                .GroupBy(l => (Block: l.Name.Groups["block"].Value, IsDown: l.Name.Groups["part"].Value is "w2" or "down_proj"))
                .Select(matrix =>
                {
                    var experts = matrix
                        .GroupBy(l => int.Parse(l.Name.Groups["expert"].Value, CultureInfo.InvariantCulture))
                        .OrderBy(e => e.Key)
                        .Select(e => Divide([.. e.OrderBy(l => l.Name.Groups["part"].Value is "w3" or "up_proj").Select(l => l.Layer)]))
                        .ToList();
                    return new ExpertParameter(
                        matrix.Key.Block + ".mlp.experts",
                        matrix.Key.IsDown ? "down_proj" : "gate_up_proj",
                        matrix.First().Layer.InputSize,
                        experts[0].Sum(l => l.Layer.OutputSize),
                        experts
                    );
                }),
        ];
    }

    // The outputs of the first layer come first.
    private static List<(LinearLayer Layer, FeatureSlice? Part)> Divide(List<LinearLayer> layers)
    {
        if (layers.Count == 1)
            return [(layers[0], null)];
        long start = 0;
        var parts = new List<(LinearLayer Layer, FeatureSlice? Part)>();
        foreach (var layer in layers)
        {
            parts.Add((layer, new FeatureSlice(start, layer.OutputSize)));
            start += layer.OutputSize;
        }
        return parts;
    }

    [GeneratedRegex(
        @"^(?<block>.+)\.(?:block_sparse_moe|mlp)\.experts\.(?<expert>\d+)\.(?<part>w1|w2|w3|gate_proj|up_proj|gate_up_proj|down_proj)$"
    )]
    private static partial Regex LayerName();
}
