using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The adapter folder of Python's PEFT: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>. Trained embeddings and norms are
/// written as <c>modules_to_save</c>, so that PEFT loads them; a tied head is written beside the embeddings, because PEFT unties them.
/// Read are also PEFT's older <c>adapter_model.bin</c> and LongLoRA's <c>trainable_params.bin</c> beside it.
/// </summary>
/// <remarks>
/// The rescaled positions stand in the notes of the safetensors file (<c>longlora_model</c> in <c>__metadata__</c>): without them an
/// adapter would be silently wrong on a base whose <c>config.json</c> still has the old ones. They cannot stand in
/// <c>adapter_config.json</c>, of which PEFT 0.6 to 0.13 refuse every field that they do not know; for the same reason it has no field
/// that is younger than PEFT 0.4.
/// </remarks>
public static class PeftFormat
{
    internal const string ConfigFile = "adapter_config.json";
    private const string WeightFile = AdapterFiles.SafetensorsFile,
        Prefix = AdapterFiles.Prefix;
    private const string PositionsNote = "longlora_model";

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
        tensors.AddRange(LoraTensors(set, model));
        var positions = ModelConfigWriter.DescribePositions(model.Config).ToJsonString();
        SafetensorsWriter.Write(Path.Combine(folder, WeightFile), tensors, new Dictionary<string, string> { [PositionsNote] = positions });
        WriteConfig(folder, set.Options, model, basePath, saved);
    }

    /// <summary>A and B layer by layer under PEFT's names.</summary>
    internal static IEnumerable<TensorToWrite> LoraTensors(AdapterSet set, CausalLanguageModel model)
    {
        foreach (var layer in model.Linears)
        {
            if (!set.Adapters.TryGetValue(layer.Name, out var adapter))
                continue;
            yield return TensorToWrite.Of($"{Prefix}{layer.Name}.lora_A.weight", adapter.A.Value);
            yield return TensorToWrite.Of($"{Prefix}{layer.Name}.lora_B.weight", adapter.B.Value);
        }
    }

    /// <summary>Writes <c>adapter_config.json</c>.</summary>
    internal static void WriteConfig(
        string folder,
        AdapterOptions options,
        CausalLanguageModel model,
        string basePath,
        IEnumerable<string> saved
    ) => AtomicFile.WriteText(Path.Combine(folder, ConfigFile), Config(options, model, basePath, saved).ToJsonString(s_indented) + "\n");

    /// <summary>
    /// The config of a base model with the positions that an adapter was trained with: what the network must be built from, since an
    /// adapter on other positions is silently wrong.
    /// </summary>
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="config">The base model's config.</param>
    /// <param name="reading">How to take what the files leave open; null for the defaults.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged, or an option is not supported.</exception>
    /// <exception cref="ConfigurationException">
    /// LongLoRA's files do not say for which context they were trained, and nobody else does.
    /// </exception>
    internal static ModelConfig Positions(string folder, ModelConfig config, AdapterReading? reading = null)
    {
        var adapter = ReadConfig(ConfigPath(folder));
        using var files = AdapterFiles.Open(folder);
        return NewPositions(files, adapter, config, reading ?? new AdapterReading());
    }

    /// <summary>Reads an adapter and attaches it, trained embeddings and norms included.</summary>
    /// <remarks>
    /// Embeddings with more rows than the model's, such as those of LongLoRA's added <c>[PAD]</c>, give the model a larger vocabulary;
    /// the head's new rows are the mean of the others, as LongLoRA has them.
    /// </remarks>
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="model">The base model, built with the adapter's <see cref="Positions"/>.</param>
    /// <param name="reading">How to take what the files leave open; null for the defaults.</param>
    /// <exception cref="CheckpointException">
    /// A file is missing or damaged, an option is not supported, or the adapter belongs to another model.
    /// </exception>
    internal static AdapterSet Attach(string folder, CausalLanguageModel model, AdapterReading? reading = null)
    {
        var configPath = ConfigPath(folder);
        var config = ReadConfig(configPath);
        var (rank, alpha) = ((int)(Number(config, "r", configPath) ?? 8), Number(config, "lora_alpha", configPath) ?? 8);
        using var files = AdapterFiles.Open(folder);

        var stored = files.Tensors.ToDictionary();
        var adapters = TakePairs(files, stored, model, rank, alpha);
        var replaced = TakeWeights(files, stored, model, reading?.KeepVocabulary == true);
        TakeTiedHead(stored, files, model);
        if (stored.Count > 0)
            throw new CheckpointException(
                $"{stored.Values.First().File}: '{stored.Values.First().Name}' belongs to no part of this model"
                    + $"{(stored.Count > 1 ? $", nor do {stored.Count - 1} other tensors" : "")}. The adapter was made for another base."
            );
        if (adapters.Count == 0 && replaced.Count == 0)
            throw new CheckpointException($"{files.Path} holds no tensors: the adapter is empty.");
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

    private static string ConfigPath(string folder) =>
        Path.Combine(folder, ConfigFile) is var path && File.Exists(path)
            ? path
            : throw new CheckpointException($"'{folder}' has no {ConfigFile}: it is not an adapter.");

    private static Dictionary<string, LoraAdapter> TakePairs(
        AdapterFiles files,
        Dictionary<string, TensorInfo> stored,
        CausalLanguageModel model,
        int rank,
        double alpha
    )
    {
        var adapters = new Dictionary<string, LoraAdapter>();
        foreach (var layer in model.Linears)
        {
            string a = layer.Name + ".lora_A.weight",
                b = layer.Name + ".lora_B.weight";
            if (!stored.ContainsKey(a) || !stored.ContainsKey(b))
                continue;
            CheckShape(stored[a], rank, layer.InputSize);
            CheckShape(stored[b], layer.OutputSize, rank);
            adapters.Add(
                layer.Name,
                new LoraAdapter(new Weight(a, Take(files, stored, a, model)), new Weight(b, Take(files, stored, b, model)), alpha)
            );
        }
        return adapters;
    }

    private static List<Weight> TakeWeights(
        AdapterFiles files,
        Dictionary<string, TensorInfo> stored,
        CausalLanguageModel model,
        bool keepVocabulary
    )
    {
        var rows = model.Embedding.Weight.Shape[0];
        string[] tables = [model.Embedding.Weight.Name, model.Head.Name + ".weight"];
        var most = tables.Max(t => stored.TryGetValue(t, out var table) && table.Shape.Count == 2 ? table.Shape[0] : 0);
        if (most > rows && !keepVocabulary)
            model.ResizeVocabulary((int)most);
        var replaced = new List<Weight>();
        foreach (var weight in model.Weights.Where(w => stored.ContainsKey(w.Name)).ToList())
        {
            var extra = keepVocabulary && tables.Contains(weight.Name) ? Math.Max(most - rows, 0) : 0;
            CheckShape(stored[weight.Name], [weight.Shape[0] + extra, .. weight.Shape.Skip(1)]);
            using var value = Take(files, stored, weight.Name, model);
            weight.Replace(extra > 0 ? value.narrow(0, 0, rows).clone() : value.alias());
            replaced.Add(weight);
        }
        return replaced;
    }

    private static Tensor Take(AdapterFiles files, Dictionary<string, TensorInfo> stored, string name, CausalLanguageModel model)
    {
        stored.Remove(name, out var info);
        using var value = files.OpenTensor(name);
        TensorNumbers.RequireFinite(value, info!);
        return value.to(ScalarType.Float32, model.Device, copy: true);
    }

    // Our own adapters say which positions they were trained with; LongLoRA's pair does not, and without them its numbers are silently
    // wrong.
    private static ModelConfig NewPositions(AdapterFiles files, JsonObject adapter, ModelConfig config, AdapterReading reading)
    {
        if (WrittenPositions(files, adapter) is { } written)
            return ReadPositions(written, config, files.Path);
        if (reading.Context is { } context)
        {
            return context >= RopeScaling.GetCurrentContext(config)
                ? RopeScaling.Extend(config, reading.Scaling, null, context)
                : throw new ConfigurationException(
                    $"The adapter's context is given as {context}, but the base model already has {RopeScaling.GetCurrentContext(config)} "
                        + $"tokens."
                );
        }
        return !files.IsPair
            ? config
            : throw new ConfigurationException(
                $"The adapter in '{Path.GetDirectoryName(files.Path)}' is in LongLoRA's layout ({AdapterFiles.TrainedFile}), which does "
                    + $"not say for which context it was trained, and its numbers are "
                    + $"wrong without. Give --adapter-context N, such as the 32768 of '...-32k'; {RopeScaling.GetCurrentContext(config)} "
                    + $"if the base model's positions are already rescaled."
            );
    }

    /// <summary>The rescaled positions as the adapter's files give them, or null. The first adapters had them in their config.</summary>
    internal static string? WrittenPositions(AdapterFiles files, JsonObject adapter) =>
        files.Notes.GetValueOrDefault(PositionsNote) ?? adapter[PositionsNote]?.ToJsonString();

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
            throw new CheckpointException(
                $"{path}: peft_type is {config["peft_type"]?.ToJsonString() ?? "absent"}; only LORA is supported."
            );
        foreach (var (name, allowed) in s_onlyValue)
        {
            if (config.TryGetPropertyValue(name, out var value) && !allowed.Contains(value?.ToJsonString() ?? "null"))
                throw new CheckpointException(
                    $"{path}: '{name}' is {value?.ToJsonString()}, which is not supported; only {string.Join(" or ", allowed)} is."
                );
        }
        return config;
    }

    private static double? Number(JsonObject config, string name, string path) =>
        config[name] switch
        {
            null => null,
            JsonValue value when value.GetValueKind() == JsonValueKind.Number && value.GetValue<double>() > 0 => value.GetValue<double>(),
            var other => throw new CheckpointException($"{path}: '{name}' is {other.ToJsonString()}; it must be a number above 0."),
        };

    private static ModelConfig ReadPositions(string written, ModelConfig config, string path)
    {
        JsonObject positions;
        try
        {
            positions = JsonNode.Parse(written) as JsonObject ?? throw new JsonException("not an object");
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{path}: its note '{PositionsNote}' is not understood: {e.Message}", e);
        }
        var complete = JsonNode.Parse(ModelConfigWriter.Create(config))!.AsObject();
        foreach (var (name, value) in positions)
            complete[name] = value?.DeepClone();
        return ModelConfigReader.Parse(complete.ToJsonString(), $"{path}: {PositionsNote}");
    }

    private static void TakeTiedHead(Dictionary<string, TensorInfo> stored, AdapterFiles files, CausalLanguageModel model)
    {
        var name = model.Head.Name + ".weight";
        if (!model.Config.TiedEmbeddings || !stored.Remove(name, out var info))
            return;
        using var scope = NewDisposeScope();
        var head = files.OpenTensor(name);
        var embedding = model.Embedding.Weight.Value.to(head.dtype);
        if (head.size(0) > embedding.size(0)) // rows that were left aside
            head = head.narrow(0, 0, embedding.size(0));
        if (!head.shape.SequenceEqual(embedding.shape) || !head.equal(embedding).all().item<bool>())
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' differs from the embeddings, but the model's head is tied to them. Untie the base model first."
            );
    }

    private static void CheckShape(TensorInfo info, params long[] shape)
    {
        if (!info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' is [{string.Join(", ", info.Shape)}]; this model needs [{string.Join(", ", shape)}]."
            );
    }

    // model.layers.0.input_layernorm.weight (or .bias) -> input_layernorm
    private static string ModuleName(string name)
    {
        var module =
            name.EndsWith(".weight", StringComparison.Ordinal) || name.EndsWith(".bias", StringComparison.Ordinal)
                ? name[..name.LastIndexOf('.')]
                : name;
        return module[(module.LastIndexOf('.') + 1)..];
    }
}
