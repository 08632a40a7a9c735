using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// Creates the parts of an adapter from its files. The names in the config, the files and the model are compared before any number is read.
/// </summary>
/// <param name="config">The config.</param>
/// <param name="files">The weights.</param>
/// <param name="model">The base; trained weights replace its weights.</param>
/// <param name="reading">Options for what the files do not specify.</param>
internal sealed class PeftReader(PeftConfig config, AdapterFiles files, CausalLanguageModel model, AdapterReading reading)
{
    private const string A = ".lora_A.weight",
        B = ".lora_B.weight",
        PairBias = ".lora_B.bias";
    internal const string TableA = ".lora_embedding_A",
        TableB = ".lora_embedding_B",
        TokenSuffix = ".token_adapter.trainable_tokens_delta",
        BaseLayer = ".base_layer";

    private readonly Dictionary<string, TensorInfo> _stored = files.Tensors.ToDictionary();
    private readonly List<(string Name, string Field)> _named = []; // what the config names

    private string Table { get; } = model.Embedding.Weight.Name[..^".weight".Length];

    private string Head => model.Head.Name;

    private bool IsTied { get; } = model.Config.TiedEmbeddings;

    /// <summary>Reads everything.</summary>
    internal AdapterParts Read()
    {
        var layers = AdapterSet.ListLayers(model).Where(IsTarget).ToList();
        var hasTable = config.NamesTargets ? config.Targets(Table, false) : _stored.ContainsKey(Table + TableA);
        var tiesHead = hasTable && IsTied && config.EnsuresTying;
        var (tableIds, headIds) = TokenIds();
        NamePairs(layers, hasTable, tiesHead);
        var experts = FindExperts(layers);
        NameWeights(layers);
        RequireSense(layers, hasTable, tableIds is not null, headIds is not null);
        if (tableIds is not null)
            _named.Add((Table + TokenSuffix, "trainable_token_indices"));
        if (headIds is not null)
            _named.Add((Head + TokenSuffix, "trainable_token_indices"));
        RequireKnown(layers, hasTable);
        RequireFit(layers, hasTable, experts);
        var missing = RequireWhole();

        if (tiesHead)
            RequireTiedPair();
        foreach (var (name, weight) in FindBaseTables(layers, hasTable))
            CheckBase(name, weight);
        // An incomplete pair is ignored altogether.
        var replaced = TakeWeights(layers);
        var pairs = layers.Where(l => HasAll(PairNames(l))).ToDictionary(l => l.Name, TakePair);
        var table = hasTable && HasAll([Table + TableA, Table + TableB]) ? TakeTable() : null;
        return new()
        {
            Config = config,
            ModelWeights = replaced,
            Missing = missing,
            Pairs = pairs,
            Table = table,
            Experts = [.. experts.Where(e => HasAll([e.Name + A, e.Name + B])).Select(TakeExperts)],
            TableServesHead = tiesHead && table is not null,
            TableRows = TakeRows(Table, tableIds),
            HeadRows = TakeRows(Head, headIds),
        };
    }

    private bool IsTarget(LinearLayer layer) =>
        config.NamesTargets ? config.Targets(layer.Name, layer != model.Head) : _stored.ContainsKey(layer.Name + A);

    private string[] PairNames(LinearLayer layer) =>
        [
            layer.Name + A,
            layer.Name + B,
            .. config.IsDora ? [layer.Name + DoraAdapter.MagnitudeSuffix] : Array.Empty<string>(),
            .. config.HasLoraBias ? [layer.Name + PairBias] : Array.Empty<string>(),
        ];

    private void NamePairs(List<LinearLayer> layers, bool hasTable, bool tiesHead)
    {
        static string Field(string name) =>
            name.EndsWith(DoraAdapter.MagnitudeSuffix, StringComparison.Ordinal) ? "use_dora"
            : name.EndsWith(PairBias, StringComparison.Ordinal) ? "lora_bias"
            : "target_modules";
        _named.AddRange(layers.SelectMany(PairNames).Select(name => (name, Field(name))));
        if (hasTable)
            _named.AddRange([(Table + TableA, "target_modules"), (Table + TableB, "target_modules")]);
        if (tiesHead)
            _named.AddRange([(Head + A, "ensure_weight_tying"), (Head + B, "ensure_weight_tying")]);
    }

    // The expert parameters that the config names, each with its depth and name in the file.
    private List<(ExpertParameter Parameter, int Depth, string Name)> FindExperts(List<LinearLayer> layers)
    {
        const string field = "target_parameters";
        var all = config.TargetParameters.Count == 0 ? [] : ExpertParameter.List(model);
        var named = new List<ExpertParameter>();
        foreach (var target in config.TargetParameters)
        {
            var own = all.Where(p => PeftModules.IsNamed(p.FullName, target)).ToList();
            if (own.Count == 0)
                throw config.Refuse(field, $"this model has no experts with a matrix '{target}', or their layout is not supported");
            named.AddRange(own);
        }
        if (named.SelectMany(p => p.Experts).SelectMany(e => e).Any(e => layers.Contains(e.Layer)))
            throw config.Refuse(field, "target_modules has layers of the same experts");
        var found = named
            .GroupBy(p => p.Module)
            .SelectMany(m => m.Reverse().Select((p, depth) => (p, depth, ExpertLora.NameInFile(m.Key, depth))))
            .ToList();
        _named.AddRange(found.SelectMany(e => new[] { (e.Item3 + A, field), (e.Item3 + B, field) }));
        return found;
    }

    private ExpertLora TakeExperts((ExpertParameter Parameter, int Depth, string Name) experts)
    {
        var (parameter, depth, name) = experts;
        var rows = (long)parameter.Experts.Count * config.Rank;
        return new(
            parameter,
            depth,
            TakeWeight(name + A, rows, parameter.Inputs),
            TakeWeight(name + B, parameter.Outputs, rows),
            LoraAdapter.ComputeScale(config.Alpha, config.Rank, config.RankStabilized)
        );
    }

    // Fully trained weights of the model: those of modules_to_save, and biases.
    private void NameWeights(List<LinearLayer> layers)
    {
        foreach (var name in model.Weights.Select(w => w.Name).Concat(IsTied ? [Head + ".weight"] : []))
        {
            var module = name[..name.LastIndexOf('.')];
            if (config.Saves(module))
                _named.Add((name, "modules_to_save"));
            else if (name.EndsWith(".bias", StringComparison.Ordinal) && IsTrainedBias(module, layers))
                _named.Add((StoredName(name, layers), "bias"));
        }
    }

    private bool IsTrainedBias(string module, List<LinearLayer> layers) =>
        config.Bias == "all" || (config.Bias == "lora_only" && layers.Exists(l => l.Name == module));

    // The bias of a layer with LoRA belongs to the wrapped layer; before 0.5 PEFT used the layer's own name.
    private string StoredName(string weight, List<LinearLayer> layers)
    {
        const string end = ".bias";
        if (!weight.EndsWith(end, StringComparison.Ordinal) || !layers.Exists(l => l.Name + end == weight))
            return weight;
        var within = weight[..^end.Length] + BaseLayer + end;
        return _stored.ContainsKey(weight) && !_stored.ContainsKey(within) ? weight : within;
    }

    private (IReadOnlyList<long>? Table, IReadOnlyList<long>? Head) TokenIds()
    {
        IReadOnlyList<long>? table = null,
            head = null;
        foreach (var (module, ids) in config.TokenIds.Where(t => t.Ids.Count > 0))
        {
            if (module.Length == 0 || Table.EndsWith(module, StringComparison.Ordinal))
                table = ids;
            else if (Head.EndsWith(module, StringComparison.Ordinal))
                head = ids;
            else
                throw config.Refuse(
                    "trainable_token_indices",
                    $"'{module}' is neither the token table '{Table}' nor the head '{Head}' of this model"
                );
            if (ids.Max() >= model.Config.VocabularySize)
                throw config.Refuse(
                    "trainable_token_indices",
                    $"the model has {model.Config.VocabularySize} tokens, so there is no id {ids.Max()}"
                );
        }
        return (table, head);
    }

    // Combinations that PEFT refuses, or computes in special ways that are not tested here.
    private void RequireSense(List<LinearLayer> layers, bool hasTable, bool hasTableRows, bool hasHeadRows)
    {
        if (config.Start != PeftStart.Plain && layers.Exists(l => model.IsQuantized && l.Projection is not DenseProjection))
            throw config.Refuse(
                "init_lora_weights",
                "this start changes the base's full-precision weights, but the base is quantized. Merge the adapter into the "
                    + "full-precision base, save it from PEFT as plain LoRA, or, on a GGUF file, set quantization to none"
            );
        if (config.HasLoraBias && layers.Exists(l => l.Share < 1))
            throw config.Refuse("lora_bias", "it is not supported on experts");
        if (config.Start != PeftStart.Plain && IsTied && layers.Contains(model.Head))
            throw config.Refuse("init_lora_weights", $"target_modules has the tied head '{Head}', so PEFT changes the embeddings too");
        if (hasTable && (config.IsDora || config.HasLoraBias || config.Start != PeftStart.Plain))
            throw config.Refuse(
                config.IsDora ? "use_dora"
                    : config.HasLoraBias ? "lora_bias"
                    : "init_lora_weights",
                $"it is not supported on embeddings, and target_modules has '{Table}'"
            );
        if (IsTied && config.EnsuresTying && !hasTable && layers.Contains(model.Head))
            throw config.Refuse("ensure_weight_tying", $"target_modules has the tied head '{Head}' without the embeddings '{Table}'");
        if (hasHeadRows && IsTied)
            throw config.Refuse("trainable_token_indices", $"the head '{Head}' is tied to the embeddings, so it uses their rows");
        if ((hasTableRows && (hasTable || config.Saves(Table))) || (hasHeadRows && (layers.Contains(model.Head) || config.Saves(Head))))
            throw config.Refuse("trainable_token_indices", "the same module has LoRA or is in modules_to_save");
        if (hasTableRows && IsTied && layers.Contains(model.Head))
            throw config.Refuse("trainable_token_indices", $"the tied head '{Head}' has LoRA");
    }

    private void RequireKnown(List<LinearLayer> layers, bool hasTable)
    {
        var known = _named.Select(n => n.Name).ToHashSet();
        var changed = layers.Select(l => l.Name + ".weight").ToHashSet(); // changed by its pair, so PEFT would not read it
        known.UnionWith(model.Weights.Select(w => StoredName(w.Name, layers)).Append(Head + ".weight").Where(n => !changed.Contains(n)));
        known.UnionWith(FindBaseTables(layers, hasTable).Select(t => t.Name));
        var left = _stored.Where(t => !known.Contains(t.Key)).Select(t => t.Value).ToList();
        if (left.Count > 0)
            throw new CheckpointException(
                $"{left[0].File}: '{left[0].Name}'{(left.Count > 1 ? $" (and {left.Count - 1} other tensors)" : "")} does not "
                    + $"match any part of this model that {PeftConfig.FileName} names. The adapter was made for another "
                    + $"base{config.OfBase}."
            );
        if (_stored.Count == 0)
            throw new CheckpointException($"The adapter is empty because {files.Path} has no tensors.");
    }

    // Comes before the search for what is missing: with another base both may be wrong, but only the shapes say why.
    private void RequireFit(List<LinearLayer> layers, bool hasTable, List<(ExpertParameter Parameter, int Depth, string Name)> experts)
    {
        var (rows, width) = (model.Embedding.Weight.Shape[0], model.Embedding.Weight.Shape[1]);
        foreach (var layer in layers)
        {
            RequireSize(layer.Name + A, null, layer.InputSize);
            RequireSize(layer.Name + B, layer.OutputSize, null);
            RequireSize(layer.Name + DoraAdapter.MagnitudeSuffix, layer.OutputSize);
            RequireSize(layer.Name + PairBias, layer.OutputSize);
        }
        foreach (var (parameter, _, name) in experts)
        {
            RequireSize(name + A, null, parameter.Inputs);
            RequireSize(name + B, parameter.Outputs, null);
        }
        if (hasTable)
        {
            RequireSize(Table + TableA, null, rows);
            RequireSize(Table + TableB, width, null);
        }
        foreach (var module in new[] { Table, Head })
        {
            RequireSize(module + TokenSuffix, null, width);
            RequireSize(module + ".weight", null, width); // more rows are added tokens
        }
        foreach (var weight in model.Weights.Where(w => w.Name != Table + ".weight" && w.Name != Head + ".weight"))
            RequireSize(StoredName(weight.Name, layers), [.. weight.Shape.Select(size => (long?)size)]);
    }

    private void RequireSize(string name, params long?[] sizes)
    {
        if (
            _stored.TryGetValue(name, out var info)
            && !(info.Shape.Count == sizes.Length && info.Shape.Zip(sizes).All(s => s.Second is null || s.First == s.Second))
        )
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' is [{string.Join(", ", info.Shape)}], but this model needs "
                    + $"[{string.Join(", ", sizes.Select((size, at) => size ?? info.Shape.ElementAtOrDefault(at)))}]. The adapter was made "
                    + $"for another base{config.OfBase}. Give that base."
            );
    }

    // The head's half of a tied pair equals the table's and may be absent.
    private List<string> RequireWhole()
    {
        const int shown = 6;
        var missing = _named.Where(n => !_stored.ContainsKey(n.Name) && n.Field != "ensure_weight_tying").ToList();
        if (missing.Count == 0 || reading.AllowMissing)
            return [.. missing.Select(n => n.Name)];
        throw new CheckpointException(
            $"Cannot load the adapter because {files.Path} lacks {MessageText.Count(missing.Count, "tensor")} that "
                + $"{PeftConfig.FileName} names: {string.Join(", ", missing.Take(shown).Select(n => $"'{n.Name}' ({n.Field})"))}"
                + $"{(missing.Count > shown ? ", ..." : "")}. {ExplainMissing([.. missing.Select(n => n.Name)])}"
        );
    }

    // Without the last blocks it looks like the adapter of a smaller model of the family.
    private string ExplainMissing(HashSet<string> missing)
    {
        var blocks = _named.Select(n => (n.Name, Block: PeftModules.FindBlock(n.Name))).Where(n => n.Block is not null).ToList();
        var last = blocks.Where(n => !missing.Contains(n.Name)).Max(n => n.Block);
        const string again = "Save it again, or set allow-missing to load it without these parts.";
        return last is not null && missing.All(name => PeftModules.FindBlock(name) > last)
            ? $"It has nothing for the layers after {last}, so it was made for another base{config.OfBase} with fewer layers, or saved "
                + $"incompletely. Give that base. {again}"
            : $"It was saved incompletely, as can happen in sharded training. {again}";
    }

    private bool HasAll(IEnumerable<string> names) => names.All(_stored.ContainsKey);

    private LoraAdapter TakePair(LinearLayer layer)
    {
        string a = layer.Name + A,
            b = layer.Name + B;
        var rank = RankOf(layer.Name, _stored[a]);
        CheckShape(a, rank, layer.InputSize);
        CheckShape(b, layer.OutputSize, rank);
        var (weightA, weightB, alpha) = (TakeWeight(a), TakeWeight(b), config.FindAlpha(layer.Name));
        if (config.IsDora)
            return new DoraAdapter(
                weightA,
                weightB,
                TakeWeight(layer.Name + DoraAdapter.MagnitudeSuffix, layer.OutputSize),
                alpha,
                config.RankStabilized
            );
        if (config.Start == PeftStart.Plain)
            return new LoraAdapter(
                weightA,
                weightB,
                alpha,
                config.RankStabilized,
                config.HasLoraBias ? TakeWeight(layer.Name + PairBias, layer.OutputSize) : null
            );
        var (initialA, initialB) = Start(layer, rank, LoraAdapter.ComputeScale(alpha, rank, config.RankStabilized));
        return new ResidualLoraAdapter(weightA, weightB, initialA, initialB, alpha, config.RankStabilized);
    }

    private (Tensor A, Tensor B) Start(LinearLayer layer, int rank, double scale)
    {
        if (rank > Math.Min(layer.InputSize, layer.OutputSize))
            throw config.Refuse("init_lora_weights", $"'{layer.Name}' is [{layer.OutputSize}, {layer.InputSize}] but the rank is {rank}");
        using var dense = layer.Projection.ToDense();
        return config.Start == PeftStart.Pissa ? LoraStart.Pissa(dense, rank, scale) : LoraStart.Olora(dense, rank);
    }

    private EmbeddingLora TakeTable()
    {
        var (rank, shape) = (RankOf(Table, _stored[Table + TableA]), model.Embedding.Weight.Shape);
        return new(
            TakeWeight(Table + TableA, rank, shape[0]),
            TakeWeight(Table + TableB, shape[1], rank),
            LoraAdapter.ComputeScale(config.FindAlpha(Table), rank, config.RankStabilized)
        );
    }

    // The head's pair of a tied table is the table's pair transposed, so only one of them is kept.
    private void RequireTiedPair()
    {
        using var scope = NewDisposeScope();
        foreach (var (head, table) in new[] { (Head + A, Table + TableB), (Head + B, Table + TableA) })
        {
            if (!_stored.ContainsKey(head) || !_stored.ContainsKey(table))
                continue;
            var (own, other) = (files.OpenTensor(head), files.OpenTensor(table).t());
            if (!own.shape.SequenceEqual(other.shape) || !own.equal(other).all().item<bool>())
                throw config.Refuse("ensure_weight_tying", $"in {files.Path} '{head}' is not '{table}' transposed");
            _stored.Remove(head);
        }
    }

    private TokenRows? TakeRows(string module, IReadOnlyList<long>? ids) =>
        ids is null || !_stored.ContainsKey(module + TokenSuffix)
            ? null
            : new(TakeWeight(module + TokenSuffix, ids.Count, model.Embedding.Weight.Shape[1]), ids, model.Embedding.Weight.Shape[0]);

    private List<Weight> TakeWeights(List<LinearLayer> layers)
    {
        string table = Table + ".weight",
            head = Head + ".weight";
        var rows = model.Embedding.Weight.Shape[0];
        string[] tables = [table, head];
        var most = tables.Max(t => _stored.TryGetValue(t, out var info) && info.Shape.Count == 2 ? info.Shape[0] : 0);
        if (most > rows && !reading.KeepVocabulary)
            model.ResizeVocabulary((int)most);
        if (IsTied)
            UntieOrDropHead(table, head);
        var replaced = new List<Weight>();
        foreach (var weight in model.Weights.ToList())
        {
            var name = StoredName(weight.Name, layers);
            if (!_stored.ContainsKey(name))
                continue;
            var extra = reading.KeepVocabulary && tables.Contains(weight.Name) ? Math.Max(most - rows, 0) : 0;
            CheckShape(name, [weight.Shape[0] + extra, .. weight.Shape.Skip(1)]);
            using var value = Take(name);
            weight.Replace(extra > 0 ? value.narrow(0, 0, rows).clone() : value.alias());
            replaced.Add(weight);
        }
        return replaced;
    }

    // A saved head that equals the saved embeddings stays tied to them. So does a head that is not saved, unless the embeddings are in
    // modules_to_save: then PEFT keeps the base's table for the head.
    private void UntieOrDropHead(string table, string head)
    {
        if (_stored.ContainsKey(head) ? !HeadEqualsTable(table, head) : IsSavedAlone(table))
            model.UntieHead();
        else
            _stored.Remove(head);
    }

    private bool IsSavedAlone(string table) => _stored.ContainsKey(table) && config.Saves(Table) && !config.EnsuresTying;

    private bool HeadEqualsTable(string table, string head)
    {
        using var scope = NewDisposeScope();
        var own = files.OpenTensor(head);
        var other = (_stored.ContainsKey(table) ? files.OpenTensor(table) : model.Embedding.Weight.Value).to(own.dtype);
        return own.shape.SequenceEqual(other.shape) && own.equal(other).all().item<bool>();
    }

    // If embeddings or head have LoRA, PEFT also writes the base's tables. They belong to the base, not to the adapter.
    private IEnumerable<(string Name, Weight Weight)> FindBaseTables(List<LinearLayer> layers, bool hasTable)
    {
        if (!hasTable && !layers.Contains(model.Head))
            yield break;
        // The head is never quantized.
        foreach (var (module, weight) in new[] { (Table, model.Embedding.Weight), (Head, ((DenseProjection)model.Head.Projection).Weight) })
        {
            yield return (module + BaseLayer + ".weight", weight);
            if (!config.Saves(module))
                yield return (module + ".weight", weight);
        }
    }

    private void CheckBase(string name, Weight weight)
    {
        using var scope = NewDisposeScope();
        if (!_stored.Remove(name, out var info))
            return;
        var (stored, own) = (files.OpenTensor(name), weight.Value);
        if (
            !stored.shape.SequenceEqual(own.shape)
            || !(stored.to(own.dtype).equal(own).all().item<bool>() || own.to(stored.dtype).equal(stored).all().item<bool>())
        )
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' [{string.Join(", ", info.Shape)}] is the base's table, but it differs from "
                    + $"'{weight.Name}' [{string.Join(", ", weight.Shape)}] of this model. The adapter was made for another base, or for "
                    + "this base with added tokens."
            );
    }

    private int RankOf(string module, TensorInfo a) => config.FindRank(module, a.Shape.Count == 2 ? a.Shape[0] : 0);

    private Weight TakeWeight(string name, params long[] shape)
    {
        if (shape.Length > 0)
            CheckShape(name, shape);
        return new(name, Take(name));
    }

    private Tensor Take(string name)
    {
        _stored.Remove(name, out var info);
        using var value = files.OpenTensor(name);
        TensorNumbers.RequireFinite(value, info!);
        return value.to(ScalarType.Float32, model.Device, copy: true);
    }

    private void CheckShape(string name, params long[] shape)
    {
        var info = _stored[name];
        if (!info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{info.Name}' is [{string.Join(", ", info.Shape)}], but this model needs [{string.Join(", ", shape)}]."
            );
    }
}
