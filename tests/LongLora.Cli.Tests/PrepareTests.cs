namespace LongLora.Cli.Tests;

public class PrepareTests : CliRun
{
    private static string Paper => Repository.At("tests", "LongLora.Documents.Tests", "Material", "two-columns.pdf");

    public PrepareTests()
    {
        Directory.CreateDirectory(At("in"));
        File.WriteAllText(
            At("in", "story.txt"),
            string.Concat(Enumerable.Range(0, 60).Select(i => $"Once upon a time there was a girl with {i} cats.  \n"))
        );
        File.Copy(Paper, At("in", "paper.pdf"));
    }

    [Fact]
    public void Prepare_writes_tokens_that_training_reads()
    {
        var text = Succeed("prepare", "--data", At("in"), "--model", Stories, "--output", At("corpus"));
        Assert.Contains("tokens.bin (uint16)", text, StringComparison.Ordinal);
        Assert.Contains(".pdf", text, StringComparison.Ordinal);
        Assert.True(new FileInfo(At("corpus", "lengths.png")).Length > 5_000);
        Succeed(
            "train",
            "--model",
            Stories,
            "--data",
            At("corpus"),
            "--context",
            "600",
            "--output",
            At("run"),
            "--steps",
            "1",
            "--gradient-accumulation",
            "1"
        );
        Assert.Contains(
            "were unchanged and not read again",
            Succeed("prepare", "--data", At("in"), "--model", Stories, "--output", At("corpus")),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Train_and_evaluate_read_a_folder_of_documents_as_they_are()
    {
        Succeed(
            "train",
            "--model",
            Stories,
            "--data",
            At("in"),
            "--context",
            "600",
            "--output",
            At("run"),
            "--steps",
            "1",
            "--gradient-accumulation",
            "1"
        );
        var word = Repository.At("tests", "LongLora.Documents.Tests", "Material", "pandoc.docx");
        Assert.Contains(
            "1 document,",
            Succeed("evaluate", "perplexity", "--model", Stories, "--data", word, "--context", "32", "--protocol", "document"),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Show_prints_documents_as_the_model_sees_them_and_writes_nothing()
    {
        var tokens = Succeed("prepare", "--data", At("in"), "--model", Stories, "--show", "2");
        Assert.Contains("--- in/paper.pdf", tokens, StringComparison.Ordinal);
        Assert.Contains("|<s>| Once| upon| a| time|", tokens, StringComparison.Ordinal);
        Assert.Contains(
            "Once upon a time there was a girl with 1 cats.\n",
            Succeed("prepare", "--data", At("in", "story.txt"), "--show", "1"),
            StringComparison.Ordinal
        );
        Assert.Equal(["in"], Directory.EnumerateFileSystemEntries(Folder).Select(Path.GetFileName));
    }

    [Fact]
    public void Unreadable_files_are_listed_and_change_the_exit_code()
    {
        File.WriteAllText(At("in", "broken.pdf"), "no PDF");
        Fail(ExitCode.Input, ["1 of 3 files", "broken.pdf as a PDF"], "prepare", "--data", At("in"), "--output", At("corpus"));
        Assert.True(File.Exists(At("corpus", "documents.jsonl")));
        Succeed("prepare", "--data", At("in"), "--output", At("corpus"), "--skip-unreadable");
        Fail(ExitCode.Input, ["broken.pdf as a PDF"], "prepare", "--data", At("in"), "--show", "3");
        Succeed("prepare", "--data", At("in"), "--show", "3", "--skip-unreadable");
        Fail(
            ExitCode.Input,
            ["broken.pdf as a PDF"],
            "train",
            "--model",
            Stories,
            "--data",
            At("in"),
            "--context",
            "600",
            "--output",
            At("run")
        );
    }

    [Fact]
    public void Options_that_do_not_fit_are_refused()
    {
        Fail(ExitCode.Usage, ["--output"], "prepare", "--data", At("in"));
        Fail(ExitCode.Usage, ["no model"], "prepare", "--data", At("in"), "--output", At("o"), "--format", "bin");
        Fail(ExitCode.Input, ["nowhere"], "prepare", "--data", At("nowhere"), "--output", At("o"));
        Fail(ExitCode.Usage, ["not empty"], "prepare", "--data", At("in"), "--output", At("in"));
    }

    [Fact]
    public void Questions_without_a_service_are_written_as_prompts()
    {
        Assert.Contains(
            "3 prompts",
            Succeed(
                "prepare",
                "qa",
                "--data",
                At("in"),
                "--output",
                At("prompts.jsonl"),
                "--chunk",
                "9000",
                "--tasks",
                "why",
                "find",
                "--limit",
                "3"
            ),
            StringComparison.Ordinal
        );
        Assert.Equal(3, File.ReadLines(At("prompts.jsonl")).Count());
        Fail(ExitCode.Usage, ["'wy'", "Did you mean 'why'?"], "prepare", "qa", "--data", At("in"), "--output", At("q"), "--tasks", "wy");
        Fail(ExitCode.Usage, ["endpoint is 'nowhere'"], "prepare", "qa", "--data", At("in"), "--output", At("q"), "--endpoint", "nowhere");
        Fail(
            ExitCode.Usage,
            ["LONGLORA_NO_SUCH_KEY"],
            "prepare",
            "qa",
            "--data",
            At("in"),
            "--output",
            At("q"),
            "--api-key-variable",
            "LONGLORA_NO_SUCH_KEY"
        );
        Fail(
            ExitCode.Usage,
            ["cannot reach the service"],
            "prepare",
            "qa",
            "--data",
            At("in"),
            "--output",
            At("q"),
            "--endpoint",
            "http://127.0.0.1:9/v1",
            "--retries",
            "0"
        );
    }

    [Fact]
    public void Help_of_a_command_with_commands_below_shows_both()
    {
        var help = Succeed("prepare", "--help");
        Assert.Contains("longlora prepare [command] [options]", help, StringComparison.Ordinal);
        Assert.Contains("--data", help, StringComparison.Ordinal);
        Assert.Contains("  qa ", help, StringComparison.Ordinal);
        Fail(ExitCode.Usage, ["--data"], "prepare");
    }
}
