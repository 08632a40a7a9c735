namespace LongLora.Cli.Tests;

public class FlagWordsTests
{
    [Theory]
    [InlineData("It is not empty. Set resume to continue the run.", "It is not empty. Use --resume to continue the run.")]
    [InlineData("Free memory, or set check-memory to false.", "Free memory, or use --check-memory false.")]
    [InlineData("Download it, or set allow-missing to load the rest.", "Download it, or use --allow-missing to load the rest.")]
    [InlineData("Use another model, or set quantization to nf4, with a GPU.", "Use another model, or use --quantization nf4, with a GPU.")]
    [InlineData("Set adapter-context, the context of its training.", "Use --adapter-context, the context of its training.")]
    [InlineData("The set of seeds is set, and set it to 1.", "The set of seeds is set, and set it to 1.")]
    public void Options_of_the_library_become_flags(string message, string expected) =>
        Assert.Equal(expected, FlagWords.Translate(message));
}
