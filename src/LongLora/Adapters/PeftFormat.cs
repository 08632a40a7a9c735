using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The adapter folder of Python's PEFT: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>. Trained embeddings and norms are
/// written as <c>modules_to_save</c>, so that PEFT loads them; a tied head is written beside the embeddings, because PEFT unties them.
/// </summary>
/// <remarks>
/// Beyond PEFT's fields the config has <c>longlora_model</c> with the rescaled positions: PEFT ignores it, and without it an adapter would be
/// silently wrong on a base whose <c>config.json</c> still has the old positions.
/// </remarks>
public static class PeftFormat
{
    private const string ConfigFile = "adapter_config.json", WeightFile = "adapter_model.safetensors", Prefix = "base_model.model.";
    private const string PositionsField = "longlora_model";

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    // PEFT options that would change the numbers if they were not these.
    private static readonly Dictionary<string, string[]> s_onlyValue = new()
    {
        ["bias"] = ["\"none\""],
        ["fan_in_fan_out"] = ["false"],
        ["use_dora"] = ["false"],
        ["use_rslora"] = ["false"],
        ["use_qalora"] = ["false"],
        ["use_bdlora"] = ["null", "false"],
        ["lora_bias"] = ["false"],
        ["alpha_pattern"] = ["{}", "null"],
        ["rank_pattern"] = ["{}", "null"],
        ["layer_replication"] = ["null"],
        ["alora_invocation_tokens"] = ["null"],
        ["trainable_token_indices"] = ["null"],
        ["target_parameters"] = ["null"],
    };

    /// <summary>Whether a folder holds an adapter.</summary>
    public static bool IsAdapter(string folder) => File.Exists(Path.Combine(folder, ConfigFile));

    /// <summary>Writes the trained part of a model.</summary>
    /// <param name="folder">The folder to fill; its files are replaced one by one.</param>
    /// <param name="set">The adapters.</param>
    /// <param name="model">The model that they are attached to.</param>
    /// <param name="basePath">Where the base model is, for <c>base_model_name_or_path</c>.</param>
    public static void Write(string folder, AdapterSet set, CausalLanguageModel model, string basePath)
    {
        if (set.Options.TrainEverything)
            throw new ConfigurationException("Full fine-tuning changes every weight: it is saved as a model, not as an adapter.");
        var tensors = new List<TensorToWrite>();
        var saved = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var weight in set.ModelWeights)
        {
            tensors.Add(TensorToWrite.Of(Prefix + weight.Name, weight.Value));
            saved.Add(ModuleName(weight.Name));
            if (weight == model.Embedding.Weight && model.Config.TiedEmbeddings)
            {
                tensors.Add(TensorToWrite.Of($"{Prefix}{model.Head.Name}.weight", weight.Value));
                saved.Add(model.Head.Name);
            }
        }
        foreach (var layer in model.Linears)
        {
            if (set.Adapters.TryGetValue(layer.Name, out var adapter))
            {
                tensors.Add(TensorToWrite.Of($"{Prefix}{layer.Name}.lora_A.weight", adapter.A.Value));
                tensors.Add(TensorToWrite.Of($"{Prefix}{layer.Name}.lora_B.weight", adapter.B.Value));
            }
        }
        SafetensorsWriter.Write(Path.Combine(folder, WeightFile), tensors);
        AtomicFile.WriteText(Path.Combine(folder, ConfigFile), Config(set.Options, model, basePath, saved).ToJsonString(s_indented) + "\n");
    }

    /// <summary>Reads an adapter and attaches it, trained embeddings, norms and positions included.</summary>
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="model">The base model.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged, an option is not supported, or the adapter belongs to another model.</exception>
    public static AdapterSet Attach(string folder, CausalLanguageModel model)
    {
        var configPath = Path.Combine(folder, ConfigFile);
        if (!File.Exists(configPath))
            throw new CheckpointException($"'{folder}' has no {ConfigFile}: it is not an adapter.");
        var config = ReadConfig(configPath);
        var (rank, alpha) = ((int)(Number(config, "r", configPath) ?? 8), Number(config, "lora_alpha", configPath) ?? 8);
        using var file = new SafetensorsReader(Path.Combine(folder, WeightFile));

        var stored = file.Tensors.Keys.ToDictionary(name => name.StartsWith(Prefix, StringComparison.Ordinal) ? name[Prefix.Length..] : name);
        Tensor Take(string name)
        {
            stored.Remove(name, out var key);
            var value = file.Open(key!);
            TensorNumbers.RequireFinite(value, file.Tensors[key!]);
            using (value)
                return value.to(ScalarType.Float32, model.Device, copy: true);
        }

        var adapters = new Dictionary<string, LoraAdapter>();
        foreach (var layer in model.Linears)
        {
            string a = layer.Name + ".lora_A.weight", b = layer.Name + ".lora_B.weight";
            if (!stored.ContainsKey(a) || !stored.ContainsKey(b))
                continue;
            CheckShape(file, stored[a], rank, layer.InputSize);
            CheckShape(file, stored[b], layer.OutputSize, rank);
            adapters.Add(layer.Name, new LoraAdapter(new Weight(a, Take(a)), new Weight(b, Take(b)), alpha));
        }
        var replaced = new List<Weight>();
        foreach (var weight in model.Weights.Where(w => stored.ContainsKey(w.Name)).ToList())
        {
            CheckShape(file, stored[weight.Name], [.. weight.Shape]);
            weight.Replace(Take(weight.Name));
            replaced.Add(weight);
        }
        TakeTiedHead(stored, file, model);
        if (stored.Count > 0)
            throw new CheckpointException($"{file.Path}: '{stored.Values.First()}' belongs to no part of this model"
                + $"{(stored.Count > 1 ? $", nor do {stored.Count - 1} other tensors" : "")}. The adapter was made for another base.");
        if (adapters.Count == 0 && replaced.Count == 0)
            throw new CheckpointException($"{file.Path} holds no tensors: the adapter is empty.");
        if (config[PositionsField] is JsonObject positions)
            model.Config = ReadPositions(positions, model.Config, configPath);
        var norms = model.Norms.SelectMany(n => n.Weights).ToHashSet();
        var options = new AdapterOptions
        {
            Rank = rank,
            Alpha = alpha,
            TargetModules = [.. adapters.Keys.Select(ModuleName).Distinct()],
            TrainEmbeddings = replaced.Contains(model.Embedding.Weight),
            TrainNorms = replaced.Exists(norms.Contains),
        };
        return AdapterSet.Attach(model, options, adapters, replaced);
    }

    private static JsonObject Config(AdapterOptions options, CausalLanguageModel model, string basePath, IEnumerable<string> saved)
    {
        static JsonArray Names(IEnumerable<string> names) => new([.. names.Select(n => (JsonNode)n)]);
        var names = saved.ToList();
        return new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = basePath,
            ["r"] = options.Rank,
            ["lora_alpha"] = options.Alpha == Math.Floor(options.Alpha) ? (int)options.Alpha : options.Alpha,
            ["lora_dropout"] = 0.0,
            ["bias"] = "none",
            ["target_modules"] = Names(options.TargetModules),
            ["modules_to_save"] = names.Count > 0 ? Names(names) : null,
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
            ["layers_to_transform"] = null,
            ["layers_pattern"] = null,
            ["rank_pattern"] = new JsonObject(),
            ["alpha_pattern"] = new JsonObject(),
            ["use_rslora"] = false,
            ["use_dora"] = false,
            ["revision"] = null,
            [PositionsField] = ModelConfigWriter.Positions(model.Config),
        };
    }

    private static JsonObject ReadConfig(string path)
    {
        JsonObject config;
        try
        {
            config = JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? throw new JsonException("not an object");
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            throw new CheckpointException($"{path} is not understood: {e.Message}", e);
        }
        if (config["peft_type"]?.ToString() is not "LORA")
            throw new CheckpointException($"{path}: peft_type is {config["peft_type"]?.ToJsonString() ?? "absent"}; only LORA is supported.");
        foreach (var (name, allowed) in s_onlyValue)
        {
            if (config.TryGetPropertyValue(name, out var value) && !allowed.Contains(value?.ToJsonString() ?? "null"))
                throw new CheckpointException($"{path}: '{name}' is {value?.ToJsonString()}, which is not supported; only {string.Join(" or ", allowed)} is.");
        }
        return config;
    }

    private static double? Number(JsonObject config, string name, string path) => config[name] switch
    {
        null => null,
        JsonValue value when value.GetValueKind() == JsonValueKind.Number && value.GetValue<double>() > 0 => value.GetValue<double>(),
        var other => throw new CheckpointException($"{path}: '{name}' is {other.ToJsonString()}; it must be a number above 0."),
    };

    private static ModelConfig ReadPositions(JsonObject positions, ModelConfig config, string path)
    {
        var complete = JsonNode.Parse(ModelConfigWriter.Create(config))!.AsObject();
        foreach (var (name, value) in positions)
            complete[name] = value?.DeepClone();
        return ModelConfigReader.Parse(complete.ToJsonString(), $"{path}: {PositionsField}");
    }

    private static void TakeTiedHead(Dictionary<string, string> stored, SafetensorsReader file, CausalLanguageModel model)
    {
        var name = model.Head.Name + ".weight";
        if (!model.Config.TiedEmbeddings || !stored.Remove(name, out var key))
            return;
        using var head = file.Open(key);
        using var embedding = model.Embedding.Weight.Value.to(head.dtype);
        if (!head.shape.SequenceEqual(embedding.shape) || !head.equal(embedding).all().item<bool>())
            throw new CheckpointException($"{file.Path}: '{key}' differs from the embeddings, but the model's head is tied to them. Untie the base model first.");
    }

    private static void CheckShape(SafetensorsReader file, string key, params long[] shape)
    {
        if (!file.Tensors[key].Shape.SequenceEqual(shape))
            throw new CheckpointException($"{file.Path}: '{key}' is [{string.Join(", ", file.Tensors[key].Shape)}]; this model needs [{string.Join(", ", shape)}].");
    }

    // model.layers.0.input_layernorm.weight (or .bias) -> input_layernorm
    private static string ModuleName(string name)
    {
        var module = name.EndsWith(".weight", StringComparison.Ordinal) || name.EndsWith(".bias", StringComparison.Ordinal) ? name[..name.LastIndexOf('.')] : name;
        return module[(module.LastIndexOf('.') + 1)..];
    }
}
