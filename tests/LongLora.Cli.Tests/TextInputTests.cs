using System.Diagnostics;

namespace LongLora.Cli.Tests;

/// <summary>Text from outside that is not UTF-8 is refused with its place, wherever it comes from.</summary>
public sealed class TextInputTests : CliRun
{
    private static readonly byte[] s_broken = [.. "Once upon\r\na time"u8, 0xFF, 0xFE, .. " bad"u8];

    private string Broken(string name)
    {
        File.WriteAllBytes(At(name), s_broken);
        return At(name);
    }

    [Fact]
    public void A_file_is_refused()
    {
        var place = $"{At("a.txt")}:2 as text because byte 17 (0xFF) is not UTF-8";
        Fail(ExitCode.Input, [place], "generate", "--model", Stories, "--prompt-file", Broken("a.txt"), "--max-tokens", "2");
        Fail(ExitCode.Input, [place], "chat", "--model", Stories, "--template", At("a.txt"));
        Fail(ExitCode.Usage, [place], "train", "--recipe", At("a.txt"));
        Fail(ExitCode.Input, [place], "evaluate", "lines", "--model", Stories, "--cases", At("a.txt"));
    }

    // The real program: what tests hand to commands is text already.
    [Theory]
    [InlineData("tokenizer", "encode", "--model")]
    [InlineData("chat", "--template", "llama2", "--device", "cpu", "--max-tokens", "2", "--model")]
    public async Task Standard_input_is_refused(params string[] command)
    {
        using var process = Start(command);
        await process.StandardInput.BaseStream.WriteAsync(s_broken, TestContext.Current.CancellationToken);
        process.StandardInput.Close();
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var told = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == ExitCode.Input, $"exit code {process.ExitCode}: {told}");
        Assert.Contains("standard input:2 as text because byte 17 (0xFF) is not UTF-8", told, StringComparison.Ordinal);
        Assert.DoesNotContain("\uFFFD", await output, StringComparison.Ordinal);
    }

    private static Process Start(string[] command) =>
        Process.Start(
            new ProcessStartInfo(
                "dotnet",
                [
                    "exec",
                    "--runtimeconfig",
                    Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.Tests.runtimeconfig.json"),
                    "--depsfile",
                    Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.Tests.deps.json"),
                    typeof(CliApplication).Assembly.Location,
                    .. command,
                    Stories,
                ]
            )
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            }
        )!;
}
