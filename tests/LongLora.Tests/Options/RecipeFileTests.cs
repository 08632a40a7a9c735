using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Configs;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runs;
using LongLora.Tests.Architecture;

namespace LongLora.Tests.Options;

/// <summary>Each recipe up to where it would open a model: read, validated, stretched and planned with the published config.</summary>
public partial class RecipeFileTests
{
    [GeneratedRegex(@"^(?<model>[^_]+)_(?<task>[^_]+)_(?<context>\d+)k_(?:(?<count>[18])x(?<memory>\d+)gb|cpu)$")]
    private static partial Regex FileName();

    [GeneratedRegex(@"Memory by longlora plan: (?<peak>\S+ GiB) of (?<memory>\d+) GiB(?:; (?<waiting>\S+ GiB) in the host's memory)?\.")]
    private static partial Regex MemoryLine();

    public static TheoryData<string> Names =>
        [.. Directory.GetFiles(Repository.At("recipes"), "*.yaml").Select(f => Path.GetFileNameWithoutExtension(f)!).Order()];

    [Fact]
    public void Recipes_cover_families_contexts_and_hardware()
    {
        var parts = Names.Select(n => FileName().Match(n.Data)).ToList();
        Assert.True(parts.Count >= 12, $"there are {parts.Count}");
        var families = parts.Select(p => p.Groups["model"].Value).Where(PublishedConfigs.Names.Contains).Select(PublishedConfigs.Find);
        Assert.Equal(
            ["gpt_neox", "llama", "mistral", "phi3", "qwen2", "qwen3"],
            families.Select(c => c.ModelType).Distinct().Order(StringComparer.Ordinal)
        );
        Assert.Superset(new HashSet<string> { "16", "32", "64", "128" }, parts.Select(p => p.Groups["context"].Value).ToHashSet());
        Assert.Superset(new HashSet<string> { "24", "80" }, parts.Select(p => p.Groups["memory"].Value).ToHashSet());
        var list = File.ReadAllText(Repository.At("recipes", "README.md"));
        Assert.All(Names, n => Assert.Contains($"[{n.Data}]({n.Data}.yaml)", list, StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Recipe_is_valid_and_fits_its_hardware_as_it_says(string name)
    {
        var parts = FileName().Match(name);
        Assert.True(parts.Success, $"{name} is not <model>_<task>_<context>_<hardware>");
        var model = parts.Groups["model"].Value;
        var text = File.ReadAllText(Repository.At("recipes", name + ".yaml"));
        Assert.StartsWith("# ", text, StringComparison.Ordinal);
        var isKnown = PublishedConfigs.Names.Contains(model);
        var path = isKnown ? model : SharedMaterial.Golden(model.Replace("260k", "260K", StringComparison.Ordinal) + "-hf");
        var onCuda = parts.Groups["memory"].Success;
        var options = Recipe.Parse(
            $"{text}model: {path}\ndata: [d]\noutput: o\ndevice: {(onCuda ? "cuda" : "cpu")}\n",
            name,
            FineTuneOptionTable.Defaults
        );
        options.Validate();

        string Value(string option) => FineTuneOptionTable.Find(option).Format(options);
        var context = int.Parse(Value("context"), CultureInfo.InvariantCulture);
        Assert.Equal(int.Parse(parts.Groups["context"].Value, CultureInfo.InvariantCulture) * 1024, context);
        var config = isKnown ? PublishedConfigs.Find(model) : ModelConfigReader.ReadFile(Path.Combine(path, "config.json"));
        Assert.True(RopeScaling.GetCurrentContext(config) < context, $"{model} has {RopeScaling.GetCurrentContext(config)} tokens already");
        Assert.Equal(context, RopeScaling.Extend(config, Value("rope-scaling"), null, context).MaxPositions);

        var bytes = onCuda ? long.Parse(parts.Groups["memory"].Value, CultureInfo.InvariantCulture) << 30 : 4L << 30;
        var plan = TrainingPlan.Make(options.Model, options.Method, options.Machine, options.Optimizer, bytes, 512L << 30);
        Assert.True(plan.Fits, $"needs {TrainingPlan.FormatSize(plan.Memory.Peak)}");
        Assert.Null(plan.Warning);
        if (!onCuda)
            return;
        var said = MemoryLine().Match(text.Replace("\n# ", " ", StringComparison.Ordinal));
        Assert.Equal(parts.Groups["memory"].Value, said.Groups["memory"].Value);
        // Kept activations are in what is free besides.
        Assert.Equal(TrainingPlan.FormatSize(plan.Memory.Peak - plan.Memory.Kept), said.Groups["peak"].Value);
        Assert.Equal(plan.Memory.Offloaded > 0 ? TrainingPlan.FormatSize(plan.Memory.Offloaded) : "", said.Groups["waiting"].Value);
        if (parts.Groups["count"].Value == "8")
            Assert.Equal(0, int.Parse(Value("gradient-accumulation"), CultureInfo.InvariantCulture) % 8);
    }
}
