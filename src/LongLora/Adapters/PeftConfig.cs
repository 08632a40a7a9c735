using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Adapters;

/// <summary>
/// <c>adapter_config.json</c>, read strictly: every field that can change a number is either known or refused by name. No other file is
/// opened.
/// </summary>
internal sealed class PeftConfig
{
    internal const string FileName = "adapter_config.json",
        PositionsNote = "longlora_model";

    // Fields that do not affect a trained adapter's numbers.
    private static readonly HashSet<string> s_notes =
    [
        "peft_type",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "auto_mapping",
        "peft_version",
        "lora_dropout",
        "merge_weights",
        "megatron_core",
        "qalora_group_size",
        "runtime_config",
        // Only for initialization; init_lora_weights names the kind.
        "eva_config",
        "corda_config",
        "loftq_config",
        "lora_ga_config",
        PositionsNote,
    ];

    /// <summary>The fields that are read here, in the order in which they are written.</summary>
    private static readonly string[] s_read =
    [
        "r",
        "lora_alpha",
        "bias",
        "target_modules",
        "modules_to_save",
        "init_lora_weights",
        "use_rslora",
        "use_dora",
        "lora_bias",
        "rank_pattern",
        "alpha_pattern",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "trainable_token_indices",
        "ensure_weight_tying",
        "target_parameters",
    ];

    // Fields that are refused if they have a value, and why.
    private static readonly Dictionary<string, string> s_reasons = new()
    {
        ["fan_in_fan_out"] = "transposed layers, such as GPT-2's, are not supported",
        ["layer_replication"] = "repeating layers of the base is not supported",
        ["alora_invocation_tokens"] = "an adapter that starts to act at certain tokens is not supported",
        ["use_qalora"] = "LoRA on groups of inputs is not supported",
        ["use_bdlora"] = "block-diagonal matrices are not supported",
        ["kasa_config"] = "it removes singular values from the base's weights, which is not supported",
        ["velora_config"] = "it changes the gradients, which is not supported",
    };

    // These only initialize A and B and do not change the base.
    private static readonly string[] s_plainStarts = ["gaussian", "orthogonal", "eva", "mica"];

    private readonly PeftFields _fields;
    private readonly IReadOnlyList<(Regex Key, int Rank)> _ranks;
    private readonly IReadOnlyList<(Regex Key, double Alpha)> _alphas;
    private readonly PeftModules? _targets,
        _excluded;
    private readonly IReadOnlyList<long>? _layers;
    private readonly IReadOnlyList<Regex> _layerPatterns;

    private PeftConfig(JsonObject json, string path)
    {
        (_fields, Path) = (new(json, path), path);
        RequireKnown();
        Rank = _fields.TakeWhole("r") switch
        {
            null => 8,
            [> 0 and <= int.MaxValue and var rank] => (int)rank,
            _ => throw Refuse("r", "it must be an integer above 0"),
        };
        Alpha = _fields.TakeNumber("lora_alpha") ?? 8;
        RankStabilized = _fields.TakeFlag("use_rslora");
        IsDora = _fields.TakeFlag("use_dora");
        HasLoraBias = _fields.TakeFlag("lora_bias");
        EnsuresTying = _fields.TakeFlag("ensure_weight_tying");
        Bias = _fields.TakeText("bias") ?? "none";
        if (Bias is not ("none" or "all" or "lora_only"))
            throw Refuse("bias", "it must be none, all or lora_only");
        Start = ReadStart();
        if (HasLoraBias && (IsDora || Start != PeftStart.Plain))
            throw Refuse(
                "lora_bias",
                $"it is not supported together with {(IsDora ? "use_dora" : "init_lora_weights " + json["init_lora_weights"])}"
            );
        if (IsDora && Start != PeftStart.Plain)
            throw Refuse("init_lora_weights", "it is not supported together with use_dora");
        _ranks = [.. Pattern("rank_pattern").Select(p => (p.Key, (int)p.Value))];
        _alphas = [.. Pattern("alpha_pattern")];
        _targets = Modules("target_modules");
        _excluded = Modules("exclude_modules");
        SavedModules = _fields.TakeNames("modules_to_save") ?? [];
        _layers = _fields.TakeWhole("layers_to_transform") is { Length: > 0 } layers ? layers : null;
        _layerPatterns = [.. LayerPatterns()];
        TokenIds = ReadTokenIds();
        TargetParameters = _fields.TakeNames("target_parameters") ?? [];
        if (TargetParameters.Count > 0 && (IsDora || HasLoraBias || Start != PeftStart.Plain || _ranks.Count + _alphas.Count > 0))
            throw Refuse(
                "target_parameters",
                "it is not supported together with use_dora, lora_bias, pissa, olora or patterns of ranks and alphas"
            );
    }

    /// <summary>Reads the config of an adapter folder.</summary>
    /// <exception cref="CheckpointException">
    /// The file is missing or unreadable, or one of its fields is not supported; the message names it.
    /// </exception>
    internal static PeftConfig Read(string folder)
    {
        var path = System.IO.Path.Combine(folder, FileName);
        if (!File.Exists(path))
            throw new CheckpointException(
                $"'{folder}' is not an adapter because it has no {FileName}. Give the folder that PEFT or LongLora saved."
            );
        try
        {
            return new(WholeJson.ParseNode(File.ReadAllText(path)) as JsonObject ?? throw new JsonException("it must be an object"), path);
        }
        catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>The file.</summary>
    internal string Path { get; }

    /// <summary>The base that the adapter was made for, as a part of a sentence; empty if it is not named.</summary>
    internal string OfBase => _fields["base_model_name_or_path"]?.ToString() is { Length: > 0 } name ? $" ('{name}')" : "";

    /// <summary>r, unless a pattern overrides it.</summary>
    internal int Rank { get; }

    /// <summary>alpha, unless a pattern overrides it.</summary>
    internal double Alpha { get; }

    /// <summary>Whether updates are scaled by alpha / sqrt(r).</summary>
    internal bool RankStabilized { get; }

    /// <summary>Whether there are magnitudes (DoRA).</summary>
    internal bool IsDora { get; }

    /// <summary>Whether each pair has its own bias.</summary>
    internal bool HasLoraBias { get; }

    /// <summary>Which of the base's biases are trained: none, all, or lora_only.</summary>
    internal string Bias { get; }

    /// <summary>Whether a tied head stays tied to trained embeddings.</summary>
    internal bool EnsuresTying { get; }

    /// <summary>What was subtracted from the base before the matrices are added.</summary>
    internal PeftStart Start { get; }

    /// <summary>Suffixes of the names of fully trained modules.</summary>
    internal IReadOnlyList<string> SavedModules { get; }

    /// <summary>Tokens with trained rows, by the suffix of the module's name; an empty name means the token table.</summary>
    internal IReadOnlyList<(string Module, IReadOnlyList<long> Ids)> TokenIds { get; }

    /// <summary>Suffixes of the names of expert parameters with LoRA, in the order in which PEFT wraps them.</summary>
    internal IReadOnlyList<string> TargetParameters { get; }

    /// <summary>Whether the config names the modules with LoRA; otherwise the files decide.</summary>
    internal bool NamesTargets => _targets is not null || TargetsAllLinear;

    /// <summary>Whether all linear layers except the head have LoRA. People write it this way; PEFT lists the names instead.</summary>
    private bool TargetsAllLinear => _fields["target_modules"]?.ToString() == AdapterOptions.AllLayers;

    /// <summary>The positions that the earliest adapters stored in their config, as JSON; null for none.</summary>
    internal string? Positions => _fields[PositionsNote]?.ToJsonString();

    /// <summary>Whether a module has LoRA, by the rules of PEFT.</summary>
    /// <param name="module">Its name.</param>
    /// <param name="isLinear">Whether it is a linear layer other than the head.</param>
    internal bool Targets(string module, bool isLinear)
    {
        if (_excluded?.Contain(module) == true || SavedModules.Any(saved => PeftModules.IsWithin(module, saved)))
            return false;
        if (_targets is null)
            return isLinear && TargetsAllLinear;
        if (_layers is null || _targets.Names is not { } names || names.Contains(module))
            return _targets.Contain(module);
        return _targets.Contain(module) && LayerOf(module) is { } layer && _layers.Contains(layer);
    }

    /// <summary>
    /// A module's rank. Of several matching patterns PEFT uses the first, but it sorts them when it writes. So if several match, the shape
    /// of the stored matrix decides.
    /// </summary>
    /// <param name="module">The module.</param>
    /// <param name="stored">The rank of its matrix in the file.</param>
    internal int FindRank(string module, long stored)
    {
        int[] fitting = [.. _ranks.Where(r => PeftModules.Fits(r.Key, module)).Select(r => r.Rank)];
        return fitting.Contains((int)stored) ? (int)stored : fitting.Append(Rank).First();
    }

    /// <summary>A module's alpha: that of the first matching pattern.</summary>
    internal double FindAlpha(string module) =>
        _alphas.Where(a => PeftModules.Fits(a.Key, module)).Select(a => a.Alpha).Append(Alpha).First();

    /// <summary>Whether a module is fully trained: its name, or that of a module that contains it, has such a suffix.</summary>
    internal bool Saves(string module) =>
        SavedModules.Any(saved =>
        {
            for (var name = module; ; name = name[..name.LastIndexOf('.')])
            {
                if (name.EndsWith(saved, StringComparison.Ordinal))
                    return true;
                if (!name.Contains('.', StringComparison.Ordinal))
                    return false;
            }
        });

    /// <summary>
    /// The fields to write for the adapter: those with a value, with PiSSA and OLoRA as plain LoRA of twice the rank.
    /// </summary>
    internal JsonObject ToWrite()
    {
        var fields = new JsonObject();
        foreach (var name in s_read)
        {
            if (_fields[name] is { } value && !PeftFields.SaysNothing(value))
                fields[name] = value.DeepClone();
        }
        fields["r"] = Rank;
        fields["lora_alpha"] ??= Number(Alpha);
        fields["bias"] = Bias;
        fields["init_lora_weights"] = true;
        if (Start != PeftStart.Plain)
            Double(fields, RankStabilized);
        return fields;
    }

    /// <summary>Converts the fields of a residual adapter to those of plain LoRA of twice the rank with the same scale.</summary>
    internal static void Double(JsonObject fields, bool rankStabilized)
    {
        static double Of(JsonNode value) => double.Parse(value.ToJsonString(), CultureInfo.InvariantCulture);
        static JsonNode Twice(JsonNode value) => Number(2 * Of(value));
        JsonNode Alpha(JsonNode value) => rankStabilized ? Number(Math.Sqrt(2) * Of(value)) : Twice(value);
        void Each(string name, Func<JsonNode, JsonNode> change)
        {
            foreach (var (key, value) in (fields[name] as JsonObject ?? []).ToList())
                fields[name]![key] = change(value!);
        }
        fields["r"] = Twice(fields["r"]!);
        fields["lora_alpha"] = Alpha(fields["lora_alpha"]!);
        Each("rank_pattern", Twice);
        Each("alpha_pattern", Alpha);
    }

    /// <summary>A number as Python writes it: an integer if possible.</summary>
    internal static JsonNode Number(double value) => PythonNumber.ToJson(value);

    /// <summary>Makes the error for a field that is not supported.</summary>
    internal CheckpointException Refuse(string name, string why) => _fields.Refuse(name, why);

    private void RequireKnown()
    {
        if (_fields["peft_type"] is not JsonValue type || type.ToString() is not "LORA")
            throw new CheckpointException(
                $"Cannot load the adapter because {Path} has peft_type {_fields["peft_type"]?.ToJsonString() ?? "absent"}; only "
                    + "LORA is supported. Merge the adapter into its base with PEFT and use the merged model."
            );
        foreach (var (name, value) in _fields.All)
        {
            if (s_notes.Contains(name) || s_read.Contains(name) || PeftFields.SaysNothing(value))
                continue;
            throw Refuse(name, s_reasons.GetValueOrDefault(name) ?? "this option is unknown and could change what the adapter computes");
        }
    }

    private PeftStart ReadStart()
    {
        var value = _fields["init_lora_weights"];
        if (value is null || value.GetValueKind() is JsonValueKind.True or JsonValueKind.False)
            return PeftStart.Plain;
        var start = value.GetValueKind() == JsonValueKind.String ? value.ToString() : "";
        if (s_plainStarts.Contains(start.ToLowerInvariant()))
            return PeftStart.Plain;
        return start switch
        {
            _ when start.Equals("olora", StringComparison.OrdinalIgnoreCase) => PeftStart.Olora,
            "pissa" => PeftStart.Pissa,
            _ => throw Refuse(
                "init_lora_weights",
                $"only true, {string.Join(", ", s_plainStarts)}, pissa and olora are supported. "
                    + (
                        start.StartsWith("pissa_niter", StringComparison.Ordinal)
                            ? "This start removes a randomly computed part from the base, which cannot be recomputed. "
                            : "This start may have changed the base's weights. "
                    )
                    + "Save it from PEFT as plain LoRA: save_pretrained(..., path_initial_model_for_weight_conversion=...)"
            ),
        };
    }

    private IEnumerable<Regex> LayerPatterns()
    {
        string[] patterns = _fields["layers_pattern"] switch
        {
            null => [],
            JsonValue value when value.GetValueKind() == JsonValueKind.String => [value.ToString()],
            _ => [.. _fields.TakeNames("layers_pattern")!],
        };
        return patterns
            .Where(p => p.Length > 0)
            .DefaultIfEmpty("[^.]*")
            .Select(p => PeftModules.CompileLayer(p, _fields.Locate("layers_pattern")));
    }

    private long? LayerOf(string module) =>
        _layerPatterns
            .Where(p => PeftModules.Fits(p, module))
            .Select(p => (long?)long.Parse(p.Match(module).Groups["layer"].Value, CultureInfo.InvariantCulture))
            .FirstOrDefault();

    private List<(string, IReadOnlyList<long>)> ReadTokenIds()
    {
        const string name = "trainable_token_indices";
        if (_fields[name] is not JsonObject byModule)
            return _fields.TakeWhole(name) is { Length: > 0 } ids ? [("", Different(ids))] : [];
        return [.. byModule.Select(m => (m.Key, Different(_fields.TakeWhole(name, m.Value) ?? [])))];

        IReadOnlyList<long> Different(IReadOnlyList<long> ids) =>
            ids.Distinct().Count() == ids.Count ? ids : throw Refuse(name, "it lists an id twice");
    }

    private IEnumerable<(Regex Key, double Value)> Pattern(string name) =>
        _fields.TakeNumbers(name).Select(p => (PeftModules.CompileKey(p.Key, _fields.Locate(name)), p.Value));

    private PeftModules? Modules(string name) =>
        _fields[name] switch
        {
            JsonValue value when value.ToString() == AdapterOptions.AllLayers => null,
            JsonValue value when value.GetValueKind() == JsonValueKind.String => new(value.ToString(), _fields.Locate(name)),
            _ => _fields.TakeNames(name) is { Length: > 0 } names ? new(names) : null,
        };
}
