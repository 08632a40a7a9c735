using LongLora.Tests.Distributed;
using LongLora.Training;

namespace LongLora.Cli.Tests;

public class SftTests : CliRun
{
    private string WriteConversations(string name)
    {
        var colours = new[] { "red", "blue", "green" };
        File.WriteAllLines(
            At(name),
            Enumerable
                .Range(0, 60)
                .Select(i =>
                    $$"""{"instruction": "What colour has the {{(i % 2 == 0 ? "ball" : "hat")}} of {{i}}?", "input": "", "output": "It is {{colours[i % 3]}}."}"""
                )
        );
        return At(name);
    }

    private string[] Arguments(string output, params string[] more) =>
        [
            "sft",
            "--model",
            Stories,
            "--data",
            WriteConversations("train.jsonl"),
            "--template",
            "llama2",
            "--context",
            "600",
            "--output",
            At(output),
            "--steps",
            "6",
            "--gradient-accumulation",
            "2",
            "--learning-rate",
            "4e-3",
            "--warmup-steps",
            "2",
            "--group-size",
            "32",
            "--save-every",
            "2",
            .. more,
        ];

    // Answers of other lengths in each micro-batch, so that ranks differ in what they learn from.
    [Theory]
    [InlineData("mpirun.openmpi", 2)]
    [InlineData("mpirun.mpich", 3, "--shard", "optimizer")]
    public void Sft_on_several_ranks_writes_the_bytes_of_one(string launcher, int size, params string[] more)
    {
        MpiJob.Require(launcher);
        string[] shared = ["--device", "cpu", "--gradient-accumulation", "3", "--token-cache", At("cache")];
        string[] Of(string output) => [.. Arguments(output).Where((_, i) => i is not (13 or 14)), .. shared];
        Succeed(Of("one"));
        var job = MpiJob.Run(
            launcher,
            size,
            ["dotnet", Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.dll"), .. Of("many"), .. more]
        );
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        byte[] Adapter(string output) => File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"));
        Assert.Equal(Adapter("one"), Adapter("many"));
        var (one, many) = (MetricsLog.Read(At("one")).ToList(), MetricsLog.Read(At("many")).ToList());
        Assert.Equal(one.Select(s => s.Loss), many.Select(s => s.Loss));
        Assert.Equal(one.Select(s => s.Tokens), many.Select(s => s.Tokens));
        Assert.True(one.Select(s => s.Tokens - (s.Step > 1 ? one[s.Step - 2].Tokens : 0)).Distinct().Count() > 1, "all steps are alike");
    }

    [Fact]
    public void Sft_learns_resumes_to_the_same_bits_and_its_recipe_repeats_the_run()
    {
        Succeed(Arguments("run"));
        var losses = MetricsLog.Read(At("run")).Select(s => s.Loss).ToList();
        Assert.True(losses[^1] < losses[0] - 0.5, $"the loss went from {losses[0]} to {losses[^1]}");
        Assert.Contains("task: sft", File.ReadAllText(At("run", "recipe.yaml")), StringComparison.Ordinal);
        Succeed("sft", "--recipe", At("run", "recipe.yaml"), "--output", At("again"), "--token-cache", At("cache"));
        Assert.Equal(
            File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("again", "adapter", "adapter_model.safetensors"))
        );
        Succeed("train", "--recipe", At("run", "recipe.yaml"), "--output", At("third"), "--token-cache", At("cache"));
        Assert.Equal(
            File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("third", "adapter", "adapter_model.safetensors"))
        );
        Assert.Single(Directory.GetFiles(At("cache")));

        Succeed([.. Arguments("broken").Select(a => a == "6" ? "3" : a)]);
        Directory.Delete(At("broken", "adapter"), recursive: true);
        var counted = MetricsLog.Read(At("run")).Select(s => s.Tokens).ToList();
        Assert.Equal(counted.Order().Distinct(), counted); // rows of whole examples differ in length
        Succeed(Arguments("broken", "--resume"));
        Assert.Equal(
            File.ReadAllBytes(At("run", "adapter", "adapter_model.safetensors")),
            File.ReadAllBytes(At("broken", "adapter", "adapter_model.safetensors"))
        );
        Assert.Equal(counted, MetricsLog.Read(At("broken")).Select(s => s.Tokens));
    }

    [Fact]
    public void Sft_context_below_the_model_shortens_examples_and_says_so()
    {
        var output = Succeed([
            .. Arguments("run")
                .Select(a =>
                    a == "600" ? "40"
                    : a == "32" ? "16"
                    : a
                ),
        ]);
        Assert.Contains("60 examples were longer than 40 tokens.", output, StringComparison.Ordinal);
        Assert.Contains("512 tokens", Succeed("inspect", Stories), StringComparison.Ordinal);
    }

    [Fact]
    public void Sft_notes_on_the_data_come_from_the_cache_too()
    {
        const string Note = "60 examples were longer than 40 tokens.";
        // The data is written once: a file that was changed is read anew.
        string[] arguments =
        [
            .. Arguments("OUTPUT", "--token-cache", At("cache"))
                .Select(a =>
                    a == "600" ? "40"
                    : a == "32" ? "16"
                    : a == "6" ? "1"
                    : a
                ),
        ];
        string[] Again(string output) => [.. arguments.Select(a => a == At("OUTPUT") ? At(output) : a)];
        Assert.Contains(Note, Succeed(Again("one")), StringComparison.Ordinal);
        var tokens = Assert.Single(Directory.GetFiles(At("cache")));
        var made = File.ReadAllBytes(tokens);
        Assert.Contains(Note, Succeed(Again("two")), StringComparison.Ordinal);
        Assert.Equal([tokens], Directory.GetFiles(At("cache")));

        // A file of an earlier version has no notes: it is made again.
        var footer = made.AsSpan().LastIndexOf("\"Notes\":"u8);
        var older = made.ToArray();
        "\"Nones\":"u8.CopyTo(older.AsSpan(footer));
        File.WriteAllBytes(tokens, older);
        Assert.Contains(Note, Succeed(Again("three")), StringComparison.Ordinal);
        Assert.Equal(made, File.ReadAllBytes(tokens));
    }

    [Fact]
    public void Sft_says_so_where_answers_end_with_a_text_that_is_no_token()
    {
        var output = Succeed([
            .. Arguments("run")
                .Select(a =>
                    a == "llama2" ? "chatml"
                    : a == "6" ? "1"
                    : a
                ),
        ]);
        Assert.Contains("examples end with the text '<|im_end|>'", output, StringComparison.Ordinal);
        Assert.DoesNotContain("do not teach the model to stop", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Sft_show_prints_what_the_model_will_see_and_trains_nothing()
    {
        var output = Succeed(
            "sft",
            "--model",
            Stories,
            "--data",
            WriteConversations("train.jsonl"),
            "--template",
            "longalpaca",
            "--context",
            "600",
            "--show",
            "2"
        );
        Assert.Contains("⟦|<s>|", output, StringComparison.Ordinal);
        Assert.Contains("]⟧|", output, StringComparison.Ordinal);
        Assert.Contains("|</s>", output, StringComparison.Ordinal);
        Assert.Equal(2, output.Split("of them learned").Length - 1);
        Assert.Equal(["train.jsonl"], Directory.GetFileSystemEntries(Folder).Select(Path.GetFileName));
    }

    [Fact]
    public void Prepare_show_prints_conversations_with_what_is_not_learnt_marked()
    {
        File.WriteAllText(At("qa.json"), "[" + string.Join(',', File.ReadLines(WriteConversations("train.jsonl"))) + "]");
        foreach (var name in new[] { "train.jsonl", "qa.json" })
        {
            var output = Succeed("prepare", "--model", Stories, "--data", At(name), "--template", "longalpaca", "--show", "3");
            Assert.Equal(3, output.Split("of them learned").Length - 1);
            Assert.Contains("]⟧|", output, StringComparison.Ordinal);
        }
        Fail(ExitCode.Usage, ["conversations", "--model"], "prepare", "--data", At("qa.json"), "--show", "3");
        Fail(ExitCode.Input, ["longlora sft"], "prepare", "--data", At("qa.json"), "--output", At("corpus"));
        File.WriteAllText(At("bad.json"), """[{"instruction": "q"}]""");
        Fail(
            ExitCode.Input,
            ["bad.json:1", "Its fields are instruction"],
            "prepare",
            "--model",
            Stories,
            "--template",
            "alpaca",
            "--data",
            At("bad.json"),
            "--show",
            "3"
        );
    }

    // A template that drops what stands before the mark, as those of DeepSeek's distilled models do.
    [Fact]
    public void Prepare_show_keeps_reasoning_if_asked()
    {
        File.WriteAllText(
            At("drop.jinja"),
            "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' %}{% if '</think>' in c %}"
                + "{% set c = c.split('</think>')[-1] %}{% endif %}{{ '<a>' + c + '</s>' }}{% else %}{{ '<u>' + c }}{% endif %}{% endfor %}"
                + "{% if add_generation_prompt %}{{ '<a>' }}{% endif %}"
        );
        File.WriteAllText(
            At("chat.jsonl"),
            """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>WHY</think>four"}]}"""
        );
        string[] show = ["prepare", "--model", Stories, "--data", At("chat.jsonl"), "--template", At("drop.jinja"), "--show", "1"];
        var dropped = Succeed(show);
        Assert.Contains("use --keep-reasoning", dropped, StringComparison.Ordinal);
        Assert.DoesNotContain("W|H|Y", dropped, StringComparison.Ordinal);
        var kept = Succeed([.. show, "--keep-reasoning"]);
        Assert.Contains("W|H|Y", kept, StringComparison.Ordinal);
        Assert.DoesNotContain("use --keep-reasoning", kept, StringComparison.Ordinal);
    }

    [Fact]
    public void Questions_about_documents_are_written_and_answers_scored()
    {
        File.WriteAllLines(At("text.txt"), Enumerable.Range(0, 200).Select(i => $"Paragraph {i} says little."));
        Succeed(
            "data",
            "questions",
            "--data",
            At("text.txt"),
            "--examples",
            "5",
            "--shortest",
            "100",
            "--longest",
            "300",
            "--output",
            At("qa.json")
        );
        var scores = Succeed(
            "evaluate",
            "answers",
            "--model",
            Stories,
            "--data",
            At("qa.json"),
            "--template",
            "longalpaca",
            "--context",
            "1024"
        );
        Assert.Contains("5 examples,", scores, StringComparison.Ordinal);
        Assert.Contains("0 examples answered word for word", scores, StringComparison.Ordinal);
        Fail(ExitCode.Usage, ["longest is 1"], "data", "questions", "--data", At("text.txt"), "--longest", "1", "--output", At("x.json"));
    }

    [Fact]
    public void Sft_without_a_template_or_with_an_unknown_one_says_what_there_is()
    {
        string[] arguments =
        [
            "sft",
            "--model",
            Stories,
            "--data",
            WriteConversations("train.jsonl"),
            "--context",
            "600",
            "--output",
            At("run"),
        ];
        Fail(ExitCode.Usage, ["no chat template", "llama2, llama3, chatml"], arguments);
        Fail(
            ExitCode.Usage,
            ["There is no template 'lama2'", "Did you mean 'llama2'?"],
            [.. arguments[..^1], At("b"), "--template", "lama2"]
        );
    }

    [Fact]
    public void Train_weights_and_documents_apart_run_and_are_written_down()
    {
        WriteTokens("a.bin", 9_000);
        WriteTokens("b.bin", 5_000);
        Succeed(
            "train",
            "--model",
            Stories,
            "--data",
            At("a.bin") + "@0.5",
            At("b.bin"),
            "--context",
            "600",
            "--output",
            At("run"),
            "--steps",
            "2",
            "--gradient-accumulation",
            "1",
            "--keep-documents-apart"
        );
        var recipe = File.ReadAllText(At("run", "recipe.yaml"));
        Assert.Contains("a.bin@0.5", recipe, StringComparison.Ordinal);
        Assert.Contains("keep-documents-apart: true", recipe, StringComparison.Ordinal);
    }
}
