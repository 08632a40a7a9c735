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
/// written as <c>modules_to_save</c>, so PEFT loads them; a tied head is written as well as the embeddings, because PEFT unties them.
/// PEFT's older <c>adapter_model.bin</c> and LongLoRA's <c>trainable_params.bin</c> can also be read.
/// </summary>
/// <remarks>
/// The rescaled positions are stored in the metadata of the safetensors file (<c>longlora_model</c> in <c>__metadata__</c>). Without them
/// an adapter would be silently wrong on a base whose <c>config.json</c> still has the old ones. They cannot be in
/// <c>adapter_config.json</c>, because PEFT 0.6 to 0.13 refuse every unknown field there. For the same reason it has no field that is newer
/// than PEFT 0.4. Beside LongLoRA's two files, which hold nothing but tensors, they are in a file <c>longlora_model.json</c>.
/// </remarks>
public static class PeftFormat
{
    private const string WeightFile = AdapterFiles.SafetensorsFile,
        Prefix = AdapterFiles.Prefix,
        PositionsNote = PeftConfig.PositionsNote;

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>Whether a folder contains an adapter.</summary>
    public static bool IsAdapter(string folder) => File.Exists(Path.Combine(folder, PeftConfig.FileName));

    /// <summary>Checks from its config whether an adapter is supported, before a model is loaded.</summary>
    /// <param name="folder">The adapter's folder.</param>
    /// <exception cref="CheckpointException">An option is not supported; the message names it.</exception>
    public static void RequireSupported(string folder) => PeftConfig.Read(folder);

    /// <summary>Writes the trained part of a model. PiSSA and OLoRA become plain LoRA of twice the rank on the unchanged base.</summary>
    /// <param name="folder">The folder to write to; its files are replaced one by one.</param>
    /// <param name="set">The adapters.</param>
    /// <param name="model">The model that they are attached to.</param>
    /// <param name="basePath">Path of the base model, for <c>base_model_name_or_path</c>.</param>
    /// <exception cref="ConfigurationException">
    /// Every weight is trained, or the adapter was loaded with missing parts.
    /// </exception>
    public static void Write(string folder, AdapterSet set, CausalLanguageModel model, string basePath)
    {
        if (set.Options.TrainEverything)
            throw new ConfigurationException(
                "Cannot save an adapter because full fine-tuning changed every weight. Save the model instead."
            );
        if (set.Missing.Count > 0)
            throw new ConfigurationException(
                $"Cannot save the adapter because it was loaded without parts that its config names, such as '{set.Missing[0]}'. "
                    + "Merge it instead."
            );
        var (config, pairs) = (set.Parts.Config, set.Parts.Pairs);
        var tensors = new List<TensorToWrite>();
        var saved = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var weight in set.ModelWeights)
        {
            var module = weight.Name[..weight.Name.LastIndexOf('.')];
            tensors.Add(
                TensorToWrite.Of(Prefix + (pairs.ContainsKey(module) ? $"{module}{PeftReader.BaseLayer}.bias" : weight.Name), weight.Value)
            );
            if (
                config?.Saves(module) != true
                && (config is null or { Bias: "none" } || !weight.Name.EndsWith(".bias", StringComparison.Ordinal))
            )
                saved.Add(ModuleName(weight.Name));
            if (weight == model.Embedding.Weight && model.Config.TiedEmbeddings)
            {
                tensors.Add(TensorToWrite.Of($"{Prefix}{model.Head.Name}.weight", weight.Value));
                if (config?.EnsuresTying != true && config?.Saves(model.Head.Name) != true)
                    saved.Add(model.Head.Name);
            }
        }
        tensors.AddRange(LoraTensors(set, model));
        tensors.AddRange(
            set.Parts.Experts.SelectMany(e =>
                e.Weights.Zip([".lora_A.weight", ".lora_B.weight"], (w, part) => TensorToWrite.Of(Prefix + e.FileName + part, w.Value))
            )
        );
        tensors.AddRange(TableTensors(set, model));
        SafetensorsWriter.Write(
            Path.Combine(folder, WeightFile),
            tensors,
            new Dictionary<string, string> { [PositionsNote] = DescribePositions(model.Config) }
        );
        WriteConfig(folder, set, basePath, saved);
    }

    /// <summary>
    /// Writes the LoRA matrices alone, in the fields that every engine knows: one rank and one alpha, no <c>modules_to_save</c>. What is
    /// scaled otherwise has the rest in B. The base must have everything else that was trained.
    /// </summary>
    /// <param name="folder">The folder to fill; its files are replaced one by one.</param>
    /// <param name="set">Adapters of A and B alone.</param>
    /// <param name="model">The model that they are attached to.</param>
    /// <param name="basePath">Where the base is.</param>
    internal static void WritePlainLora(string folder, AdapterSet set, CausalLanguageModel model, string basePath)
    {
        var layers = AdapterSet.ListLayers(model).ToDictionary(l => l.Name);
        var (rank, scale) = (set.Adapters.Values.Max(a => a.PlainRank), set.Adapters.Values.First().Scale);
        TensorToWrite Matrix(string name, string part, LoraAdapter adapter, long[] shape, Func<Tensor> make) =>
            new($"{Prefix}{name}.lora_{part}.weight", adapter.A.Value.dtype, shape, make);
        var tensors = set.Adapters.SelectMany(a =>
            (TensorToWrite[])
                [
                    Matrix(a.Key, "A", a.Value, [a.Value.PlainRank, layers[a.Key].InputSize], a.Value.MakePlainA),
                    Matrix(a.Key, "B", a.Value, [layers[a.Key].OutputSize, a.Value.PlainRank], () =>
                        MakeScaledB(a.Value, a.Value.Scale / scale)
                    ),
                ]
        );
        SafetensorsWriter.Write(
            Path.Combine(folder, WeightFile),
            [.. tensors],
            new Dictionary<string, string> { [PositionsNote] = DescribePositions(model.Config) }
        );
        // The last part of a name stands for all layers that end in it; where only some of them have LoRA, each is named.
        var targets = set
            .Adapters.Keys.GroupBy(n => n[(n.LastIndexOf('.') + 1)..])
            .SelectMany(g => layers.Keys.Count(n => PeftModules.IsNamed(n, g.Key)) == g.Count() ? [g.Key] : g.AsEnumerable());
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = basePath,
            ["r"] = rank,
            ["lora_alpha"] = PeftConfig.Number(scale * rank),
            ["lora_dropout"] = JsonNode.Parse("0.0"),
            ["bias"] = "none",
            ["target_modules"] = new JsonArray([.. targets.Order(StringComparer.Ordinal).Select(t => (JsonNode)t)]),
            ["modules_to_save"] = null,
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
        };
        if (set.Adapters.Values.Any(a => a.PlainRank != rank))
            config["rank_pattern"] = new JsonObject(
                set.Adapters.Where(a => a.Value.PlainRank != rank).Select(a => KeyValuePair.Create(a.Key, (JsonNode?)a.Value.PlainRank))
            );
        AtomicFile.WriteText(Path.Combine(folder, PeftConfig.FileName), config.ToJsonString(s_indented) + "\n");
    }

    private static Tensor MakeScaledB(LoraAdapter adapter, double rest)
    {
        if (rest == 1)
            return adapter.MakePlainB();
        using var b = adapter.MakePlainB();
        return b.detach().mul(Scalars.Of(rest));
    }

    /// <summary>A, B and related weights, layer by layer under PEFT's names.</summary>
    internal static IEnumerable<TensorToWrite> LoraTensors(AdapterSet set, CausalLanguageModel model)
    {
        foreach (var layer in AdapterSet.ListLayers(model))
        {
            if (!set.Adapters.TryGetValue(layer.Name, out var adapter))
                continue;
            var rank = adapter.PlainRank;
            yield return new($"{Prefix}{layer.Name}.lora_A.weight", adapter.A.Value.dtype, [rank, layer.InputSize], adapter.MakePlainA);
            yield return new($"{Prefix}{layer.Name}.lora_B.weight", adapter.B.Value.dtype, [layer.OutputSize, rank], adapter.MakePlainB);
            foreach (var weight in adapter.Weights.Skip(2))
                yield return TensorToWrite.Of(Prefix + weight.Name, weight.Value);
        }
    }

    // LoRA on the embeddings and token rows; and, if embeddings or head have LoRA, the base's tables, as PEFT writes them.
    private static IEnumerable<TensorToWrite> TableTensors(AdapterSet set, CausalLanguageModel model)
    {
        var parts = set.Parts;
        string module = model.Embedding.Weight.Name[..^".weight".Length],
            head = model.Head.Name;
        TensorToWrite Base(string name, Weight weight) => TensorToWrite.Of($"{Prefix}{name}{PeftReader.BaseLayer}.weight", weight.Value);
        TensorToWrite Transposed(string name, Weight weight) =>
            new(Prefix + head + name, weight.Value.dtype, [weight.Shape[1], weight.Shape[0]], () => weight.Value.detach().t().contiguous());
        if (parts.Table is { } table)
        {
            yield return Base(module, model.Embedding.Weight);
            yield return TensorToWrite.Of(Prefix + module + PeftReader.TableA, table.A.Value);
            yield return TensorToWrite.Of(Prefix + module + PeftReader.TableB, table.B.Value);
            if (parts.TableServesHead)
            {
                yield return Transposed(".lora_A.weight", table.B);
                yield return Transposed(".lora_B.weight", table.A);
            }
        }
        if (parts.TableServesHead || parts.Pairs.ContainsKey(head))
            yield return Base(head, ((DenseProjection)model.Head.Projection).Weight);
        foreach (var (name, rows) in new[] { (module, parts.TableRows), (head, parts.HeadRows) })
        {
            if (rows is not null)
                yield return TensorToWrite.Of(Prefix + name + PeftReader.TokenSuffix, rows.Rows.Value);
        }
    }

    /// <summary>Writes <c>adapter_config.json</c>.</summary>
    /// <param name="folder">The folder to write to.</param>
    /// <param name="set">The adapters.</param>
    /// <param name="basePath">Path of the base model.</param>
    /// <param name="saved">
    /// Fully trained modules in addition to those that the adapter was read with; null to name none at all.
    /// </param>
    internal static void WriteConfig(string folder, AdapterSet set, string basePath, IEnumerable<string>? saved) =>
        AtomicFile.WriteText(
            Path.Combine(folder, PeftConfig.FileName),
            PythonNumber.KeepFloats(Config(set, basePath, saved?.ToList()))!.ToJsonString(s_indented) + "\n"
        );

    /// <summary>
    /// The config of a base model with the positions that an adapter was trained with. Build the network from it, because an adapter is
    /// silently wrong with other positions.
    /// </summary>
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="config">The base model's config.</param>
    /// <param name="reading">Options for what the files do not specify; null for the defaults.</param>
    /// <exception cref="CheckpointException">A file is missing or damaged, or an option is not supported.</exception>
    /// <exception cref="ConfigurationException">
    /// LongLoRA's files do not store the context, and it was not given.
    /// </exception>
    internal static ModelConfig Positions(string folder, ModelConfig config, AdapterReading? reading = null)
    {
        var adapter = PeftConfig.Read(folder);
        using var files = AdapterFiles.Open(folder);
        return NewPositions(files, files.Positions ?? adapter.Positions, config, reading ?? new AdapterReading());
    }

    /// <summary>Reads an adapter and attaches it, including trained embeddings and norms.</summary>
    /// <remarks>
    /// Embeddings with more rows than the model's, such as those of LongLoRA's added <c>[PAD]</c>, give the model a larger vocabulary;
    /// the head's new rows are the mean of the others, as in LongLoRA. A tied head gets a separate matrix if the adapter replaces only the
    /// head or only the embeddings.
    /// </remarks>
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="model">The base model, built with the adapter's <see cref="Positions"/>.</param>
    /// <param name="reading">Options for what the files do not specify; null for the defaults.</param>
    /// <exception cref="CheckpointException">
    /// A file is missing or damaged, an option is not supported, a part that the config names is missing, or the adapter belongs to
    /// another model.
    /// </exception>
    internal static AdapterSet Attach(string folder, CausalLanguageModel model, AdapterReading? reading = null)
    {
        var config = PeftConfig.Read(folder);
        using var files = AdapterFiles.Open(folder);
        var parts = new PeftReader(config, files, model, reading ?? new AdapterReading()).Read() with
        {
            AssumesLinear =
                (files.Positions ?? config.Positions) is null
                && reading is { Context: not null, Scaling: null }
                && model.Config.RopeScaling.Kind == "linear",
        };
        var norms = model.Norms.SelectMany(n => n.Weights).ToHashSet();
        var options = new AdapterOptions
        {
            Rank = config.Rank,
            Alpha = config.Alpha,
            Kind =
                config.IsDora ? AdapterKind.Dora
                : config.Start == PeftStart.Pissa ? AdapterKind.Pissa
                : AdapterKind.Lora,
            RankStabilized = config.RankStabilized,
            TargetModules = [.. parts.Pairs.Keys.Select(ModuleName).Distinct()],
            TrainEmbeddings = parts.ModelWeights.Contains(model.Embedding.Weight),
            TrainNorms = parts.ModelWeights.Any(norms.Contains),
        };
        return AdapterSet.Attach(model, options, parts);
    }

    // Our adapters store the positions that they were trained with. LongLoRA's own pairs do not, and without them their numbers are
    // silently wrong.
    private static ModelConfig NewPositions(AdapterFiles files, string? written, ModelConfig config, AdapterReading reading)
    {
        if (written is not null)
        {
            var positions = ReadPositions(written, config, files.Path);
            RequireSame(positions, reading, files.Path);
            return positions;
        }
        if (reading is { Context: null, Scaling: not null })
            throw new ConfigurationException(
                "adapter-scaling needs the context that the adapter was trained for. Set adapter-context too."
            );
        if (reading.Context is { } context)
        {
            return context >= RopeScaling.GetCurrentContext(config)
                ? RopeScaling.Extend(config, reading.Scaling ?? "linear", null, context)
                : throw new ConfigurationException(
                    $"The adapter's context is {context}, but the base model already has {RopeScaling.GetCurrentContext(config)} "
                        + "tokens. Give the context that the adapter was trained for."
                );
        }
        return !files.IsPair
            ? config
            : throw new ConfigurationException(
                $"Cannot load the adapter in '{Path.GetDirectoryName(files.Path)}' because LongLoRA's layout "
                    + $"({AdapterFiles.TrainedFile}) does not store the context that it was trained for. Set adapter-context, such as "
                    + $"32768 for '...-32k', or {RopeScaling.GetCurrentContext(config)} if the base model's positions are already "
                    + "rescaled."
            );
    }

    // What the files say is never overruled: an adapter is wrong with any other positions.
    private static void RequireSame(ModelConfig written, AdapterReading reading, string path)
    {
        var (context, kind) = (RopeScaling.GetCurrentContext(written), written.RopeScaling.Kind);
        if (reading.Context is { } wanted && wanted != context)
            throw new ConfigurationException(
                $"Cannot use adapter-context {wanted} because the adapter in '{Path.GetDirectoryName(path)}' says that it was trained for "
                    + $"{context} tokens. Leave it out."
            );
        if (reading.Scaling is { } scaling && scaling != kind && !(scaling == RopeScaling.ByLength && kind == "longrope"))
            throw new ConfigurationException(
                $"Cannot use adapter-scaling {scaling} because the adapter in '{Path.GetDirectoryName(path)}' says that it was trained "
                    + $"with {kind} positions. Leave it out."
            );
    }

    /// <summary>The rescaled positions from the adapter's files, or null. The earliest adapters had them in their config.</summary>
    internal static string? WrittenPositions(AdapterFiles files, JsonObject adapter) =>
        files.Positions ?? adapter[PositionsNote]?.ToJsonString();

    /// <summary>The fields of a config that say what the positions are, as our adapters store them.</summary>
    internal static string DescribePositions(ModelConfig config) =>
        PythonNumber.KeepFloats(ModelConfigWriter.DescribePositions(config))!.ToJsonString();

    private static JsonObject Config(AdapterSet set, string basePath, List<string>? saved)
    {
        static JsonArray Names(IEnumerable<string> names) => new([.. names.Select(n => (JsonNode)n)]);
        var fields = set.Parts.Config?.ToWrite() ?? NewFields(set.Options);
        JsonNode? Taken(string name)
        {
            var value = fields[name];
            fields.Remove(name); // it has no parent anymore
            return value;
        }
        var (targets, named) = (Taken("target_modules"), Taken("modules_to_save") as JsonArray);
        if (saved is null)
            named = null;
        foreach (var name in saved ?? [])
            (named ??= []).Add(name);
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = basePath,
            ["r"] = Taken("r"),
            ["lora_alpha"] = Taken("lora_alpha"),
            ["lora_dropout"] = JsonNode.Parse("0.0"), // a float in Python, unlike 0
            ["bias"] = Taken("bias"),
            ["target_modules"] = targets ?? Names(set.Options.TargetModules),
            ["modules_to_save"] = named,
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["init_lora_weights"] = Taken("init_lora_weights"),
        };
        foreach (var (name, value) in fields.ToList())
            config[name] = value!.DeepClone();
        return config;
    }

    // Only values other than PEFT's defaults, because older versions refuse unknown fields.
    private static JsonObject NewFields(AdapterOptions options)
    {
        var fields = new JsonObject
        {
            ["r"] = options.Rank,
            ["lora_alpha"] = PeftConfig.Number(options.Alpha),
            ["bias"] = "none",
            ["init_lora_weights"] = true,
        };
        if (options.RankStabilized)
            fields["use_rslora"] = true;
        if (options.Kind == AdapterKind.Dora)
            fields["use_dora"] = true;
        if (options.Kind == AdapterKind.Pissa)
            PeftConfig.Double(fields, options.RankStabilized);
        return fields;
    }

    private static ModelConfig ReadPositions(string written, ModelConfig config, string path)
    {
        JsonObject positions;
        try
        {
            positions = WholeJson.ParseNode(written) as JsonObject ?? throw new JsonException("not an object");
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{path}: cannot read '{PositionsNote}': {e.Message}", e);
        }
        var complete = JsonNode.Parse(ModelConfigWriter.Create(config))!.AsObject();
        foreach (var (name, value) in positions)
            complete[name] = value?.DeepClone();
        return ModelConfigReader.Parse(complete.ToJsonString(), $"{path}: {PositionsNote}");
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
