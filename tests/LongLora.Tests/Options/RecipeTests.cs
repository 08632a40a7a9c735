using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Tests.Options;

public class RecipeTests
{
    private static readonly FineTuneOptions s_full = new()
    {
        Model = new()
        {
            Path = "a model: with # signs",
            FromScratch = "config.json",
            Tokenizer = "words",
            Context = 8192,
            RopeScaling = "yarn",
            RopeFactor = 3.5,
        },
        Data = new()
        {
            Task = LongLora.Data.TrainingTask.Sft,
            Sources = ["books", new("more/data.jsonl", 0.25), "named@2"],
            KeepDocumentsApart = true,
            Shuffle = false,
            Template = "llama2",
            Columns = ["output=answer", "input=text"],
            IgnoreFields = ["mood"],
            TemplateOptions = ["enable_thinking=false"],
            KeepReasoning = true,
            TokenBytes = 4,
            TokenCache = "cache",
        },
        Method = new()
        {
            Attention = AttentionKind.Grouped,
            GroupRatio = 1.0 / 3,
            GroupSize = 1024,
            ShortShare = 0.125,
            Tuning = TuningMethod.Lora,
            Rank = 16,
            Alpha = 32.5,
            TargetModules = ["q_proj"],
            AdapterKind = AdapterKind.Pissa,
            Rslora = true,
            PissaIterations = 4,
            TrainEmbeddings = true,
            TrainNorms = false,
        },
        Optimizer = new()
        {
            Steps = 7,
            BatchSize = 2,
            GradientAccumulation = 3,
            Reduction = GradientReduction.Fast,
            LearningRate = 1.2345678901234567e-5,
            WarmupSteps = 4,
            Schedule = ScheduleKind.Cosine,
            WeightDecay = 0.1,
            Beta1 = 0.8,
            Beta2 = 0.99,
            Epsilon = 1e-6,
            MaxGradNorm = 0,
            SkipSpikes = 4,
        },
        Run = new()
        {
            Output = "null",
            Resume = true,
            Seed = 7,
            SaveEvery = 5,
            KeepCheckpoints = 3,
            RankTimeout = 30,
            CheckMemory = false,
        },
        Machine = new()
        {
            Device = "cpu",
            Compute = ComputePrecision.Tf32,
            Quantization = LongLora.Quantization.QuantizationKind.Int8,
            BlocksPerSegment = 2,
            ActivationOffload = ActivationOffload.Disk,
            ActivationMemory = 1536L << 20,
            SequenceParallel = 2,
            Shard = Sharding.Optimizer,
        },
    };

    private static readonly Type[] s_parts =
    [
        typeof(ModelOptions),
        typeof(DataOptions),
        typeof(MethodOptions),
        typeof(OptimizerOptions),
        typeof(RunOptions),
        typeof(MachineOptions),
    ];

    [Fact]
    public void Write_and_parse_give_back_every_option()
    {
        foreach (
            var options in new[]
            {
                s_full,
                s_full with
                {
                    Model = s_full.Model with { FromScratch = null, Tokenizer = null, RopeFactor = null },
                    Method = s_full.Method with { GroupSize = null, TrainEmbeddings = null, TrainNorms = null },
                },
            }
        )
        {
            var read = Recipe.Parse(Recipe.Write(options, "test"), "recipe", FineTuneOptionTable.Defaults);
            Assert.Equal(options.Data.Sources, read.Data.Sources);
            Assert.Equal(options.Data.Columns, read.Data.Columns);
            Assert.Equal(options.Method.TargetModules, read.Method.TargetModules);
            Assert.Equal(
                options,
                read with
                {
                    Data = read.Data with
                    {
                        Sources = options.Data.Sources,
                        Columns = options.Data.Columns,
                        IgnoreFields = options.Data.IgnoreFields,
                        TemplateOptions = options.Data.TemplateOptions,
                    },
                    Method = read.Method with { TargetModules = options.Method.TargetModules },
                }
            );
        }
    }

    [Fact]
    public void Table_has_every_property_once_and_the_test_options_differ_from_every_default()
    {
        Assert.Equal(Enum.GetNames<OptionPart>().Select(p => p + "Options"), s_parts.Select(p => p.Name));
        var settable = s_parts.SelectMany(part =>
            part.GetProperties().Where(p => p.CanWrite).Select(p => (part.Name.Replace("Options", ""), NameOf(part, p.Name)))
        );
        Assert.Equal(settable.Order(), FineTuneOptionTable.All.Select(o => (o.Part.ToString(), o.Name)).Order());
        Assert.All(FineTuneOptionTable.All, o => Assert.NotEqual(o.Format(FineTuneOptionTable.Defaults), o.Format(s_full)));
    }

    private static string NameOf(Type part, string property) =>
        (part.Name, property) switch
        {
            (nameof(ModelOptions), nameof(ModelOptions.Path)) => "model",
            (nameof(DataOptions), nameof(DataOptions.Sources)) => "data",
            _ => FineTuneOptionTable.ToKebabCase(property),
        };

    [Fact]
    public void Parse_several_problems_are_all_told_each_with_its_line()
    {
        var message = Assert
            .Throws<ConfigurationException>(() => Recipe.Parse("rank: 8\nstep: 5\nalpha: none\n", "recipe", FineTuneOptionTable.Defaults))
            .Message;
        Assert.Equal(
            [
                "recipe:2: There is no option 'step'. Did you mean 'steps'?",
                "recipe:3: alpha is 'none'; it must be a number such as 0.5 or 2e-5.",
            ],
            message.Split(Environment.NewLine)
        );
    }

    [Fact]
    public void Parse_data_with_weights_is_read_in_both_forms() =>
        Assert.Equal(
            [new("a"), new("b", 0.5), new("c", 2), new("d@3", 1)],
            Recipe
                .Parse("data: [a, {path: b, weight: 0.5}, c@2, {path: d@3, weight: 1}]", "recipe", FineTuneOptionTable.Defaults)
                .Data.Sources
        );

    [Theory]
    [InlineData("data: [{path: a}]\n", "{path: PATH, weight: NUMBER}")]
    [InlineData("data: [a@-1]\n", "above 0")]
    [InlineData("context: 8\ncontext: 9\n", "recipe:")]
    [InlineData("- a\n- b\n", "one YAML document")]
    [InlineData("context: [1, 2]\n", "recipe:1: context must be a single value")]
    [InlineData("steps: 1.5\n", "recipe:1: steps is '1.5'; it must be a whole number.")]
    [InlineData("shuffle: yes please\n", "true or false")]
    [InlineData("", "empty")]
    [InlineData("a: [\n", "recipe:")]
    public void Parse_what_is_wrong_is_refused_with_its_line(string yaml, string expected) =>
        Assert.Contains(
            expected,
            Assert.Throws<ConfigurationException>(() => Recipe.Parse(yaml, "recipe", FineTuneOptionTable.Defaults)).Message,
            StringComparison.Ordinal
        );

    [Theory]
    [InlineData(4096, 0.25, 1024)]
    [InlineData(4098, 0.25, 1026)]
    [InlineData(3, 0.25, 2)]
    [InlineData(1024, 1, 1024)]
    public void ResolveGroupSize_is_even_and_covers_its_share(int context, double ratio, int expected) =>
        Assert.Equal(expected, new MethodOptions { GroupRatio = ratio }.ResolveGroupSize(context));

    [Theory]
    [InlineData("auto", null, "auto")]
    [InlineData("0", 0L, "0")]
    [InlineData("2", 2L << 30, "2GiB")]
    [InlineData("1536MiB", 1536L << 20, "1536MiB")]
    [InlineData("0.5GiB", 512L << 20, "512MiB")]
    [InlineData("1MB", 1_000_000L, "1000000B")]
    public void Activation_memory_is_read_and_written(string text, long? bytes, string written)
    {
        var options = Recipe.Parse(
            $"{{model: m, data: [d], context: 4096, output: o, activation-memory: {text}}}",
            "test",
            FineTuneOptionTable.Defaults
        );
        Assert.Equal(bytes, options.Machine.ActivationMemory);
        Assert.Contains($"activation-memory: {written}", Recipe.Write(options, "test").Replace("\"", "", StringComparison.Ordinal));
        Assert.Equal(bytes, Recipe.Parse(Recipe.Write(options, "test"), "r", FineTuneOptionTable.Defaults).Machine.ActivationMemory);
    }

    [Theory]
    [InlineData("much")]
    [InlineData("-1")]
    [InlineData("2 elephants")]
    [InlineData("0MiB")]
    public void Activation_memory_that_is_no_size_is_refused(string text)
    {
        var told = Assert
            .Throws<ConfigurationException>(() =>
                Recipe.Parse(
                    $"{{model: m, data: [d], context: 4096, output: o, activation-memory: {text}}}",
                    "test",
                    FineTuneOptionTable.Defaults
                )
            )
            .Message;
        Assert.Contains($"activation-memory is '{text}'; give a size such as 2GiB", told);
    }
}
