using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;

namespace LongLora.Export;

/// <summary>Describes a folder or file from its headers.</summary>
/// <param name="Kind">Model, adapter or weight file, as text.</param>
/// <param name="Path">The folder or file.</param>
/// <param name="Facts">Names and values to show, in order.</param>
/// <param name="Tensors">Every tensor.</param>
internal sealed record CheckpointSummary(
    string Kind,
    string Path,
    IReadOnlyList<(string Name, string Value)> Facts,
    IReadOnlyList<TensorInfo> Tensors
)
{
    /// <summary>
    /// Reads a model folder, an adapter folder, a GGUF model, a file of weights, or a model in the store of another program.
    /// </summary>
    /// <exception cref="CheckpointException">It is none of these, or damaged.</exception>
    public static CheckpointSummary Read(string path)
    {
        LibTorch.EnsureLoaded();
        if (!PeftFormat.IsAdapter(path))
            path = ModelLocation.Find(path).Path;
        if (GgufModel.IsNamed(path))
            return OfGguf(path);
        if (File.Exists(path))
            return OfFile(path);
        if (PeftFormat.IsAdapter(path))
            return OfAdapter(path);
        using var folder = CheckpointDirectory.Open(path, headersOnly: true);
        var beside = folder.Companions.Any() ? string.Join(", ", folder.Companions.Select(System.IO.Path.GetFileName)) : "no tokenizer";
        var summary = OfModel("Hugging Face model", folder, FormatTypes(folder.Tensors.Values), ("other files", beside));
        if (FindQuantized(folder) is { } quantized)
            summary = summary.Insert(3, ("quantization", quantized));
        return folder.TextPartOf is { } whole ? summary.Insert(1, ("text part", DescribeTextPart(folder, whole))) : summary;
    }

    private static string DescribeTextPart(CheckpointDirectory folder, string whole) =>
        $"the part of a {whole} model that reads and writes text; {folder.OtherParts.Tensors} tensors of other parts "
        + $"({folder.OtherParts.Bytes / 1048576.0:N1} MiB) are left out";

    private static CheckpointSummary OfGguf(string path)
    {
        using var file = GgufModel.Open(path);
        var types = file
            .StoredTensors.CountBy(t => t.Type)
            .OrderByDescending(t => t.Value)
            .Select(t => $"{t.Value} {t.Key.ToString().ToUpperInvariant()}");
        return OfModel(
                "GGUF model",
                file,
                $"{file.StoredBytes / 1048576.0:N1} MiB, {string.Join(", ", types)}",
                ("tokenizer", file.DescribeTokenizer())
            )
            .Insert(0, ("name", file.Name + (file.License is { } license ? $" ({license})" : "")));
    }

    private CheckpointSummary Insert(int at, (string, string) fact) => this with { Facts = [.. Facts.Take(at), fact, .. Facts.Skip(at)] };

    private static CheckpointSummary OfModel(string kind, IModelFiles files, string size, (string, string) last)
    {
        using var model = ModelLoader.Describe(files.Config);
        var config = files.Config;
        List<(string, string)> facts =
        [
            ("family", config.ModelType),
            ("parameters", Count(model.Weights.Sum(w => w.ElementCount))),
            ("size", size),
            ("context", $"{RopeScaling.GetCurrentContext(config):N0} tokens"),
            ("RoPE", Positions(config)),
            (
                "layers",
                $"{config.LayerCount} of width {config.HiddenSize}, MLP "
                    + $"{config.IntermediateSize}{(config.ParallelResidual ? " beside attention" : "")}"
            ),
            ("heads", $"{config.HeadCount} of size {config.HeadSize}, {config.KeyValueHeadCount} for keys and values"),
            ("vocabulary", $"{config.VocabularySize:N0}, head {DescribeHead(files, model)}"),
            last,
        ];
        if (config.SlidingWindow is { } window)
            facts.Insert(4, ("window", $"{window:N0} tokens in {DescribeWindows(config)}"));
        if (DescribeLayers(config) is { } special)
            facts.Insert(facts.FindIndex(f => f.Item1 == "heads") + 1, ("special", special));
        CheckNames(files, model);
        return new(kind, files.Path, facts, Sorted(files.Tensors.Values));
    }

    private static string Positions(ModelConfig config)
    {
        var (scaling, text) = (config.RopeScaling, $"theta {config.RopeTheta:R}");
        if (config.RotarySize != config.HeadSize)
            text += $" on {config.RotarySize} of a head's {config.HeadSize} numbers";
        var original = RopeScaling.GetOriginalContext(config);
        return scaling.Kind switch
        {
            "default" => text,
            "proportional" when scaling.Factor == 1 => $"{text}, the first {scaling.RotatedShare:P0} of a head's pairs rotate",
            "longrope" => $"{text}, longrope from {original:N0} tokens",
            _ => $"{text}, {scaling.Kind} x{scaling.Factor:R} from {original:N0} tokens",
        };
    }

    private static string DescribeHead(IModelFiles folder, CausalLanguageModel model) =>
        !model.Config.TiedEmbeddings ? "separate"
        : folder.Tensors.ContainsKey(model.Head.Name + ".weight") ? "tied to the embeddings, unless the stored head differs"
        : "tied to the embeddings";

    private static string DescribeWindows(ModelConfig config)
    {
        var windowed = Enumerable.Range(0, config.LayerCount).Count(i => config.GetWindow(i) is not null);
        return windowed == config.LayerCount ? "every layer"
            : config.Layers.Count == 0 ? $"the layers from {config.FirstWindowedLayer} on"
            : $"{windowed} of {config.LayerCount} layers";
    }

    // Special features of the model, in a few words.
    private static string? DescribeLayers(ModelConfig config)
    {
        var layers = Enumerable.Range(0, config.LayerCount).Select(config.GetLayer).ToList();
        List<string> parts = [];
        if (config.Experts is { } experts)
            parts.Add(
                $"{experts.Count} experts of width {experts.Size} in {layers.Count(l => l.HasExperts)} layers, {experts.PerToken} per token"
            );
        if (layers.Count(l => l.Rotation == LayerRotation.None) is > 0 and var still)
            parts.Add($"{still} of {layers.Count} layers have no positions");
        if (layers.Count(l => l.IsLinear) is > 0 and var linear)
            parts.Add($"{linear} of {layers.Count} layers have a recurrent state");
        if (config.LocalRope is { } local)
            parts.Add($"layers with a window have theta {local.Theta:R}");
        if (layers.Count(l => l.KeysOf is not null) is > 0 and var shared)
            parts.Add($"{shared} of {layers.Count} layers reuse keys and values of other layers");
        if (config.TokenInputs is { } inputs)
            parts.Add($"inputs of {inputs.Size} numbers for each token and layer");
        return parts.Count == 0 ? null : string.Join("; ", parts);
    }

    private static CheckpointSummary OfFile(string path)
    {
        var file = WeightFile.Read(path);
        List<(string, string)> facts =
        [
            ("tensors", Count(file.Tensors.Count)),
            ("elements", Count(file.Tensors.Values.Sum(t => t.ElementCount))),
            ("size", FormatTypes(file.Tensors.Values)),
        ];
        if (TensorNames.IsMeta(file.Tensors.Keys))
            facts.Add(("names", "Meta's own (tok_embeddings.weight, ...); convert the model to Hugging Face's layout before use"));
        facts.AddRange(file.Notes.Where(m => m.Value.Length < 200).Select(m => (m.Key, m.Value)));
        return new(file.Format, path, facts, Sorted(file.Tensors.Values));
    }

    private static CheckpointSummary OfAdapter(string path)
    {
        using var file = AdapterFiles.Open(path);
        var config = ReadConfig(System.IO.Path.Combine(path, "adapter_config.json"));
        string[] parts = [".lora_", ".token_adapter.", ".base_layer.weight"];
        var whole = file.Tensors.Values.Where(t => !parts.Any(part => t.Name.Contains(part, StringComparison.Ordinal))).ToList();
        var layers = file
            .Tensors.Keys.Where(n => n.EndsWith(".lora_A.weight", StringComparison.Ordinal))
            .Select(n => n.Split('.')[^3])
            .Distinct();
        var positions = PeftFormat.WrittenPositions(file, config) is { } written ? WholeJson.ParseNode(written) : null;
        return new(
            "PEFT adapter",
            path,
            [
                ("base", config["base_model_name_or_path"]?.ToString() ?? "not specified"),
                ("kind", DescribeKind(path, config)),
                ("LoRA", $"rank {config["r"]}, alpha {config["lora_alpha"]}, on {string.Join(", ", layers)}"),
                (
                    "fully trained",
                    whole.Count == 0
                        ? "nothing"
                        : $"{whole.Count} weights ({Count(whole.Sum(t => t.ElementCount))} elements): embeddings, norms"
                ),
                ("parameters", Count(file.Tensors.Values.Sum(t => t.ElementCount))),
                ("size", FormatTypes(file.Tensors.Values)),
                (
                    "context",
                    positions is null
                        ? file.IsPair
                            ? "unknown: these files of LongLoRA do not store it; give it as adapter-context"
                            : "the base model's"
                        : $"{positions["max_position_embeddings"]} tokens, RoPE {DescribeScaling(positions)}"
                ),
            ],
            Sorted(file.Tensors.Values)
        );
    }

    // In the spelling of transformers 4 or 5; of layers with positions of their own, those of the layers that look at everything.
    private static string DescribeScaling(JsonNode positions)
    {
        var scaling = positions["rope_scaling"] ?? positions["rope_parameters"];
        scaling = scaling?["full_attention"] ?? scaling;
        return $"{scaling?["rope_type"]?.ToString() ?? "default"} x{(double?)scaling?["factor"] ?? 1:R}";
    }

    // From the config, or why it is not supported.
    private static string DescribeKind(string path, JsonObject config)
    {
        try
        {
            PeftFormat.RequireSupported(path);
        }
        catch (CheckpointException e)
        {
            return $"not supported: {e.Message}";
        }
        string[] fields = ["use_dora", "use_rslora", "lora_bias"];
        string[] names = ["DoRA", "rsLoRA", "with LoRA biases"];
        var start =
            config["init_lora_weights"] is JsonValue value && value.GetValueKind() == JsonValueKind.String
                ? $", initialized with {value}"
                : "";
        var kinds = fields.Zip(names).Where(f => config[f.First]?.GetValueKind() == JsonValueKind.True).Select(f => f.Second).ToList();
        return (kinds.Count == 0 ? "LoRA" : string.Join(", ", kinds)) + start;
    }

    private static JsonObject ReadConfig(string path)
    {
        try
        {
            return WholeJson.ParseNode(File.ReadAllText(path)) as JsonObject ?? throw new JsonException("it must be an object");
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    // The same check as in loading, without reading the weights.
    private static void CheckNames(IModelFiles folder, CausalLanguageModel model)
    {
        foreach (var weight in model.Weights)
        {
            if (
                QuantizedProjection.FindStoredKind(folder, weight.Name) != QuantizationKind.None
                || model.Stacks.FirstOrDefault(s => s.Name == weight.Name) is { } stack
                    && QuantizedProjection.FindStoredKind(folder, stack.GetLayerName(0) + ".weight") != QuantizationKind.None
            )
                continue; // its shape is not that of the matrix
            if (!folder.Tensors.TryGetValue(weight.Name, out var info))
                throw new CheckpointException(
                    $"'{folder.Path}' has no tensor '{weight.Name}' [{string.Join(", ", weight.Shape)}], which config.json "
                        + $"requires. {TensorNames.Advise(folder.Tensors.Keys)}"
                );
            if (!info.Shape.SequenceEqual(weight.Shape))
                throw new CheckpointException(
                    $"{info.File}: '{weight.Name}' is [{string.Join(", ", info.Shape)}], but config.json requires "
                        + $"[{string.Join(", ", weight.Shape)}]."
                );
        }
    }

    private static string? FindQuantized(CheckpointDirectory folder)
    {
        var kinds = folder
            .Tensors.Keys.Select(QuantizedProjection.GetMatrixName)
            .CountBy(name => QuantizedProjection.FindStoredKind(folder, name))
            .Where(k => k.Key != QuantizationKind.None)
            .ToList();
        return kinds.Count == 0
            ? null
            : string.Join(", ", kinds.Select(k => $"{k.Value} matrices in {k.Key.ToString().ToLowerInvariant()}"));
    }

    private static string Count(long number) =>
        number >= 1_000_000_000 ? $"{number:N0} ({number / 1e9:F2} B)"
        : number >= 1_000_000 ? $"{number:N0} ({number / 1e6:F2} M)"
        : $"{number:N0}";

    private static string FormatTypes(IEnumerable<TensorInfo> tensors)
    {
        var types = tensors
            .GroupBy(t => t.Type)
            .Select(g => (Code: SafetensorsTypes.ToCode(g.Key), Bytes: g.Sum(t => t.ByteCount)))
            .ToList();
        return $"{types.Sum(t => t.Bytes) / 1048576.0:N1} MiB, {string.Join(" and ", types.Select(t => t.Code))}";
    }

    private static List<TensorInfo> Sorted(IEnumerable<TensorInfo> tensors) => [.. tensors.OrderBy(t => t.Name, StringComparer.Ordinal)];
}
