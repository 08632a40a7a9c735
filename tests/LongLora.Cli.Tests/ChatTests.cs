using System.Text.Json;

namespace LongLora.Cli.Tests;

public class ChatTests : CliRun
{
    private static string[] Chat(params string[] more) =>
        ["chat", "--model", Stories, "--template", "llama2", "--max-tokens", "12", .. more];

    private static (string Output, string Error) Ask(string input, params string[] more)
    {
        var (code, output, error) = RunWith(input, default, Chat(more));
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        return (output, error);
    }

    [Fact]
    public void Chat_answers_a_piped_question_as_generate_goes_on_from_the_rendered_one()
    {
        var (output, error) = Ask("Tell me of a dog.\n");
        Assert.Equal(Succeed("generate", "--model", Stories, "--prompt", "[INST] Tell me of a dog. [/INST]", "--max-tokens", "12"), output);
        Assert.Contains("of 512 tokens used", error, StringComparison.Ordinal);
    }

    [Fact]
    public void Chat_puts_documents_and_the_system_text_before_the_question_and_saves_what_sft_reads()
    {
        File.WriteAllText(At("dog.md"), "Tim had a red dog.\n");
        var (output, error) = Ask($"/system Be brief.\n/load {At("dog.md")}\nWhat had Tim?\n");
        Assert.Contains("dog.md: ", error, StringComparison.Ordinal);
        var prompt = "[INST] <<SYS>>\\nBe brief.\\n<</SYS>>\\n\\nTim had a red dog.\\n\\nWhat had Tim? [/INST]";
        Assert.Equal(Succeed("generate", "--model", Stories, "--prompt", prompt, "--max-tokens", "12"), output);
        Assert.Equal(output, Ask("What had Tim?", "--system", "Be brief.", "--load", At("dog.md")).Output);
        Ask($"/system Be brief.\n/save {At("chat.json")}\nHello");
        using var saved = JsonDocument.Parse(File.ReadAllText(At("chat.json")));
        Assert.Equal(["system"], saved.RootElement.GetProperty("messages").EnumerateArray().Select(m => m.GetProperty("role").GetString()));
    }

    [Fact]
    public void Chat_says_what_is_wrong()
    {
        File.WriteAllText(At("long.txt"), string.Concat(Enumerable.Repeat("Tim had a red dog. ", 200)));
        void Refused(int code, string text, string input, params string[] args)
        {
            var (seen, _, error) = RunWith(input, default, args);
            Assert.Equal(code, seen);
            Assert.Contains(text, error, StringComparison.Ordinal);
        }
        Refused(ExitCode.Input, "the context is 512", $"/load {At("long.txt")}\nWhat?", Chat());
        Refused(ExitCode.Usage, "no question", "", Chat());
        Refused(ExitCode.Usage, "Did you mean '/load'", "/lod x\nWhat?", Chat());
        Refused(ExitCode.Usage, "needs a file", "/save\nWhat?", Chat());
        Refused(ExitCode.Usage, "has no chat template", "What?", "chat", "--model", Stories);
        Refused(ExitCode.Input, "leaves no room", string.Concat(Enumerable.Repeat("Tim had a red dog. ", 200)), Chat());
    }

    [Fact]
    public void Chat_notes_a_context_that_the_model_was_not_made_for()
    {
        Assert.Contains(
            "stories260K-hf was trained for 512 tokens",
            Ask("Tell me of a dog.", "--context", "4000").Error,
            StringComparison.Ordinal
        );
        Assert.DoesNotContain("was trained for", Ask("Tell me of a dog.", "--context", "400").Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("one two three", "one two|three|")]
    [InlineData("one\n\ntwo  three", "one||two|three|")]
    [InlineData("  a\n  b c d e", "  a|  b c d|e|")]
    [InlineData("incomprehensible it is", "incomprehensible|it is|")]
    [InlineData("\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57", "\u6f22\u5b57\u6f22\u5b57|\u6f22\u5b57|")]
    [InlineData("12345678 1", "12345678|1|")]
    public void Wrapped_text_breaks_between_words_however_it_comes(string text, string lines)
    {
        for (var piece = 1; piece <= 3; piece++)
        {
            using var output = new StringWriter { NewLine = "|" };
            var wrapped = new WrappedText(output, 8);
            foreach (var part in text.Chunk(piece))
                wrapped.Write(new string(part));
            wrapped.End();
            Assert.Equal(lines, output.ToString());
        }
    }

    [Fact]
    public void Stoppable_work_is_stopped_first_and_the_command_after_it()
    {
        using var interruption = new Interruption();
        Assert.True(
            interruption.RunStoppable(stop =>
            {
                Assert.True(interruption.Signal());
                return stop.IsCancellationRequested;
            })
        );
        Assert.False(interruption.Token.IsCancellationRequested);
        Assert.True(interruption.Signal());
        Assert.True(interruption.Token.IsCancellationRequested);
        Assert.False(interruption.Signal());
    }
}
