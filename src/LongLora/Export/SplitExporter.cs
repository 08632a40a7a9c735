using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Export;

/// <summary>
/// Splits a model with an adapter that trained more than LoRA into what serving engines load: a base with the trained embeddings and norms
/// and the new positions in it, and a plain LoRA adapter on this base. Both together compute what the model computes.
/// </summary>
internal static class SplitExporter
{
    /// <summary>Names of the folders in the output.</summary>
    public const string BaseFolder = "base",
        AdapterFolder = "adapter";

    /// <summary>Names of the GGUF files in the output.</summary>
    public const string BaseFile = "base.gguf",
        AdapterFile = "adapter.gguf";

    /// <summary>Writes both, all of it or nothing.</summary>
    /// <param name="output">The folder to make. One that exists is replaced.</param>
    /// <param name="model">The model with its adapter.</param>
    /// <param name="options">The form of the base's weights.</param>
    /// <param name="gguf">Type of most matrices of the base as a GGUF file; null for no such file.</param>
    /// <exception cref="ConfigurationException">
    /// There is no adapter, nothing in it that an engine would refuse, or something that cannot be split.
    /// </exception>
    public static void Write(string output, LoadedModel model, ExportOptions options, GgufFileType? gguf = null)
    {
        var (network, origin) = (model.Network, model.Files);
        var set = model.Adapter ?? throw new ConfigurationException("Cannot split a model without an adapter. Give --adapter.");
        Require(set, model);
        var basePath = Path.Combine(output, BaseFolder);
        AtomicFile.RequireOwn(output);
        AtomicFile.WriteDirectory(output, folder =>
        {
            var adapter = Path.Combine(folder, AdapterFolder);
            AtomicFile.WriteDirectory(adapter, path => PeftFormat.WritePlainLora(path, set, network, basePath), withChecksums: true);
            if (gguf is { } type)
                GgufExporter.WriteAdapter(Path.Combine(folder, AdapterFile), set, network, OfAdapter(type), isFolded: true);
            WithoutPairs(set, AdapterSet.ListLayers(network), () =>
            {
                HuggingFaceExporter.Write(Path.Combine(folder, BaseFolder), network, origin, options);
                if (gguf is { } type)
                    GgufExporter.Write(Path.Combine(folder, BaseFile), network, origin, type, options.TokenizerFolder);
            });
        });
    }

    private static void Require(AdapterSet set, LoadedModel model)
    {
        set.RequirePlainLora("a plain LoRA adapter", isFolded: true);
        if (set.Missing.Count > 0)
            throw new ConfigurationException(
                $"The adapter was read without parts that its config names, such as '{set.Missing[0]}'. Merge it instead."
            );
        if (set.Adapters.Count == 0)
            throw new ConfigurationException("The adapter has no LoRA matrices, so there is nothing to split. Merge it instead.");
        if (model.Network.Config.TiedEmbeddings && set.Adapters.ContainsKey(model.Network.Head.Name))
            throw new ConfigurationException(
                $"Cannot split the adapter because it has LoRA on '{model.Network.Head.Name}', which is the table of the "
                    + "embeddings here, and engines have no such layer. Merge it instead."
            );
        var isFoldable =
            set.ModelWeights.Count > 0 || set.Parts.Table is not null || (set.Parts.TableRows ?? set.Parts.HeadRows) is not null;
        if (!isFoldable && JsonNode.DeepEquals(Describe(model.Config), Describe(model.Files.Config)))
            throw new ConfigurationException(
                "The adapter is plain LoRA on the base's own positions, so engines load it as it is. Give them the base and the adapter."
            );
    }

    // A matrix of the adapter is small, and its error counts twice.
    private static GgufFileType OfAdapter(GgufFileType type) => type is GgufFileType.F32 or GgufFileType.Bf16 ? type : GgufFileType.F16;

    private static JsonObject Describe(ModelConfig config) => ModelConfigWriter.DescribePositions(config);

    private static void WithoutPairs(AdapterSet set, IEnumerable<LinearLayer> layers, Action write)
    {
        var updates = layers.Where(l => set.Adapters.ContainsKey(l.Name)).Select(l => (Layer: l, l.Update)).ToList();
        try
        {
            foreach (var (layer, _) in updates)
                layer.Update = null;
            write();
        }
        finally
        {
            foreach (var (layer, update) in updates)
                layer.Update = update;
        }
    }
}
