using System.Globalization;
using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Adapters;

/// <summary>
/// Adapters that PEFT wrote, against its results in float64 (goldens/peft): loaded, trained through the lean walk and through plain
/// autograd, merged, written, and read back.
/// </summary>
public sealed class PeftGoldenTests(ITestOutputHelper output) : IDisposable
{
    private const string Prefix = "base_model.model.";
    private const double Tolerance = 1e-5;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string, string> Kinds =>
        new()
        {
            { "lora", "" },
            { "lora_rslora", "" },
            { "dora", "" },
            { "dora_all_linear", "" },
            { "dora_biased_base", "base_biased" },
            { "all_linear", "" },
            { "rank_alpha_pattern", "" },
            { "rank_alpha_pattern_rslora", "" },
            { "layers_to_transform", "" },
            { "target_regex", "" },
            { "exclude_modules", "" },
            { "exclude_modules_list", "" },
            { "modules_to_save", "" },
            { "modules_to_save_dora", "" },
            { "trainable_tokens", "" },
            { "trainable_tokens_both", "" },
            { "lora_embedding", "" },
            { "lora_bias", "" },
            { "lora_bias_biased_base", "base_biased" },
            { "bias_lora_only", "base_biased" },
            { "bias_all", "base_biased" },
            { "tied_modules_to_save", "base_tied" },
            { "tied_modules_to_save_ensured", "base_tied" },
            { "tied_trainable_tokens", "base_tied" },
            { "tied_lora_embedding_ensured", "base_tied" },
            { "target_parameters", "base_moe" },
            { "pissa_raw", "" },
            { "pissa_converted", "" },
            { "olora_raw", "" },
            { "olora_converted", "" },
        };

    internal static string Folder(string kind) => SharedMaterial.Golden("peft", kind);

    internal static CausalLanguageModel Base(string name, out CheckpointDirectory folder)
    {
        folder = CheckpointDirectory.Open(name.Length == 0 ? SharedMaterial.Golden("llama_tiny") : Folder(name));
        return ModelLoader.Load(folder.Config, folder);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Attach_gives_the_logits_and_gradients_of_PEFT(string kind, string basis)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Path.Combine(Folder(kind), "golden.safetensors"));
        using var model = Base(basis, out _);
        using var set = PeftFormat.Attach(Folder(kind), model);
        var logits = Logits(model, golden["input_ids"]);
        var difference = Compare(golden["logits"], logits, "logits");

        using var parameters = new ParameterBuffer(set.Weights);
        var targets = LlamaGoldenTests.Targets(golden["input_ids"]);
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        var context = new ForwardContext(new FullAttention(), positions);
        using var pass = new CheckpointedPass(model);
        var loss = pass.ForwardBackward(golden["input_ids"], targets, context, 1.0 / 94).item<double>() / 94;
        Assert.Equal(golden["loss"].item<double>(), loss, 2e-6);
        var lean = parameters.Gradients.clone();
        var gradients = 0.0;
        foreach (var name in golden.Names.Where(n => n.StartsWith("grad.", StringComparison.Ordinal)))
            gradients = Math.Max(gradients, Compare(golden[name], Gradient(set, golden, name["grad.".Length..], kind), name));

        parameters.ClearGradients();
        PlainPass.Loss(model, golden["input_ids"], targets, context).backward();
        Near.AssertRelative(parameters.Gradients, lean, 1e-5, "lean walk against plain autograd");
        Report(kind, $"logits {difference:E1}, loss {Math.Abs(golden["loss"].item<double>() - loss):E1}, gradients {gradients:E1}");
    }

    // A tied table's LoRA in the head has the same weights: the golden has the gradients of each use alone.
    private static Tensor Gradient(AdapterSet set, GoldenTensors golden, string name, string kind)
    {
        const string table = Prefix + "model.embed_tokens.lora_embedding_A",
            head = Prefix + "lm_head.lora_B.weight";
        if (kind == "tied_lora_embedding_ensured" && (name is table or head))
        {
            var sum = set.Weights.Single(w => Prefix + w.Name == table).GetGradient();
            return name == table ? sum - golden["grad." + head].t() : (sum - golden["grad." + table]).t();
        }
        if (kind == "tied_lora_embedding_ensured" && name.EndsWith("lora_embedding_B", StringComparison.Ordinal))
            return golden["grad." + name]; // looked at below, where the uses have weights of their own
        return Weight(set, name, kind).GetGradient();
    }

    private static Weight Weight(AdapterSet set, string name, string kind) =>
        kind == "tied_modules_to_save_ensured" && name == Prefix + "lm_head.weight"
            ? set.ModelWeights.Single()
            : set.Weights.Single(w => Prefix + w.Name == name.Replace(".base_layer.bias", ".bias", StringComparison.Ordinal));

    [Fact]
    public void Attach_tied_pairs_that_need_not_stay_tied_gives_the_gradients_of_each_use()
    {
        const string kind = "tied_lora_embedding_ensured";
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Path.Combine(Folder(kind), "golden.safetensors"));
        var config = Config(Folder(kind));
        config["ensure_weight_tying"] = false;
        config["target_modules"] = new JsonArray("q_proj", "embed_tokens", "lm_head");
        File.Copy(Path.Combine(Folder(kind), "adapter_model.safetensors"), _folder["adapter_model.safetensors"]);
        _folder.Text("adapter_config.json", config.ToJsonString());
        using var model = Base("base_tied", out _);
        using var set = PeftFormat.Attach(_folder.Root, model);
        using var parameters = new ParameterBuffer(set.Weights);
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        using var pass = new CheckpointedPass(model);
        var context = new ForwardContext(new FullAttention(), positions);
        pass.ForwardBackward(golden["input_ids"], LlamaGoldenTests.Targets(golden["input_ids"]), context, 1.0 / 94);
        string[] names = [.. golden.Names.Where(n => n.StartsWith("grad.", StringComparison.Ordinal))];
        Assert.Equal(5, names.Length);
        foreach (var name in names)
            Compare(golden[name], Weight(set, name["grad.".Length..], "").GetGradient(), name);

        var folder = CheckpointDirectory.Open(Folder("base_tied"));
        HuggingFaceExporter.Write(_folder["merged"], model, folder);
        using var merged = Load(_folder["merged"]);
        Assert.False(merged.Config.TiedEmbeddings);
        Compare(golden["logits"], Logits(merged, golden["input_ids"]), "logits of a merged head of its own");
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Merge_gives_the_weights_of_PEFT(string kind, string basis)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Path.Combine(Folder(kind), "golden.safetensors"));
        using var model = Base(basis, out var origin);
        using var set = PeftFormat.Attach(Folder(kind), model);
        if (kind == "lora_bias")
        {
            var refused = Assert.Throws<LongLora.Runtime.ConfigurationException>(() =>
                HuggingFaceExporter.Write(_folder["m"], model, origin)
            );
            Assert.Contains("lora_bias", refused.Message);
            return;
        }
        HuggingFaceExporter.Write(_folder["merged"], model, origin);
        using var merged = Load(_folder["merged"]);
        var difference = Compare(golden["logits"], Logits(merged, golden["input_ids"]), "merged logits");
        using var files = CheckpointDirectory.Open(_folder["merged"]);
        const string head = "lm_head.weight";
        var weights = 0.0;
        foreach (var name in golden.Names.Where(n => n.StartsWith("merged.", StringComparison.Ordinal)))
        {
            var own = name["merged.".Length..];
            if (own == head && merged.Config.TiedEmbeddings)
                own = "model.embed_tokens.weight";
            weights = Math.Max(weights, Compare(golden[name], own.Contains(".experts.") ? Experts(files, own) : files.Open(own), name));
        }
        foreach (var (name, info) in origin.Tensors.Where(t => !golden.Names.Contains("merged." + t.Key) && !t.Key.Contains(".experts.")))
            Near.AssertEqual(origin.Open(name), files.Open(info.Name), 0, name + ", which the adapter leaves alone");
        Report(kind, $"merged weights {weights:E1}, merged logits {difference:E1}");
    }

    // model.layers.0.mlp.experts.gate_up_proj is w1 over w3 of every expert in the file.
    private static Tensor Experts(CheckpointDirectory files, string name)
    {
        string[] parts = name.EndsWith("down_proj", StringComparison.Ordinal) ? ["w2"] : ["w1", "w3"];
        var module = name[..name.LastIndexOf('.')].Replace(".mlp.", ".block_sparse_moe.", StringComparison.Ordinal);
        return stack(Enumerable.Range(0, 4).Select(e => cat([.. parts.Select(p => files.Open($"{module}.{e}.{p}.weight"))], 0)), 0);
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Write_gives_the_files_of_PEFT_and_reads_back(string kind, string basis)
    {
        using var scope = NewDisposeScope();
        using var golden = GoldenTensors.Read(Path.Combine(Folder(kind), "golden.safetensors"));
        Tensor logits;
        using (var model = Base(basis, out _))
        using (var set = PeftFormat.Attach(Folder(kind), model))
        {
            logits = Logits(model, golden["input_ids"]);
            PeftFormat.Write(_folder.Root, set, model, "base");
        }

        // What is relative to a changed base is written as PEFT converts it.
        var isRaw = kind.EndsWith("_raw", StringComparison.Ordinal);
        var expected = Folder(kind.Replace("_raw", "_converted", StringComparison.Ordinal));
        CompareConfigs(Config(expected), Config(_folder.Root));
        using var theirs = GoldenTensors.Read(Path.Combine(expected, "adapter_model.safetensors"));
        using var ours = GoldenTensors.Read(_folder["adapter_model.safetensors"]);
        Assert.Equal(theirs.Names.Order(StringComparer.Ordinal), ours.Names.Order(StringComparer.Ordinal));
        foreach (var name in theirs.Names)
        {
            Assert.Equal((theirs[name].dtype, name), (ours[name].dtype, name));
            Assert.Equal(theirs[name].shape, ours[name].shape);
            if (!isRaw) // signs of singular vectors are free
                Near.AssertEqual(theirs[name], ours[name], 0, name);
        }
        foreach (var name in theirs.Names.Where(n => isRaw && n.EndsWith("lora_A.weight", StringComparison.Ordinal)))
        {
            var b = name.Replace("lora_A", "lora_B", StringComparison.Ordinal);
            Compare(theirs[b].mm(theirs[name]), ours[b].mm(ours[name]), name);
        }

        using var again = Base(basis, out _);
        using var read = PeftFormat.Attach(_folder.Root, again);
        var difference = Near.Difference(logits, Logits(again, golden["input_ids"]));
        Assert.True(difference <= (isRaw ? 1e-5 : 0), $"the written adapter gives logits that differ by {difference:G3}");
        Report(kind, $"read back: logits {difference:E1}");
    }

    // Each field that is written has PEFT's value and type, and each that is left out says nothing in PEFT's file.
    private static void CompareConfigs(JsonObject theirs, JsonObject ours)
    {
        string[] notes = ["megatron_core", "peft_version", "qalora_group_size"];
        foreach (var (name, value) in ours)
            Assert.Equal($"{name}: {theirs[name]?.ToJsonString() ?? "null"}", $"{name}: {value?.ToJsonString() ?? "null"}");
        foreach (var (name, value) in theirs.Where(f => !ours.ContainsKey(f.Key) && !notes.Contains(f.Key)))
            Assert.True(value?.ToJsonString() is null or "false" or "[]" or "{}", $"{name} is {value} in PEFT's file, and left out");
    }

    private static CausalLanguageModel Load(string path)
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(folder.Config, folder);
    }

    private static JsonObject Config(string folder) =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "adapter_config.json")))!.AsObject();

    private static Tensor Logits(CausalLanguageModel model, Tensor ids)
    {
        using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
        return model.ComputeLogits(ids, new ForwardContext(new FullAttention(), positions));
    }

    private static double Compare(Tensor expected, Tensor actual, string what)
    {
        using var noGradient = no_grad();
        Near.AssertEqual(expected, actual, Tolerance, what);
        return Near.Difference(expected, actual);
    }

    private void Report(string kind, FormattableString what) => output.WriteLine($"{kind}: {what.ToString(CultureInfo.InvariantCulture)}");
}
