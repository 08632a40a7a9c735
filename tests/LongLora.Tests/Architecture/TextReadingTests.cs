using System.Text.RegularExpressions;

namespace LongLora.Tests.Architecture;

/// <summary>
/// Text that somebody wrote is read by <c>Runtime/Utf8TextReader</c>, which refuses what is not text. .NET's own ways to read a file put
/// replacement characters there, from which a model would answer or learn.
/// </summary>
public partial class TextReadingTests
{
    // Files that programs write: of this one, of the system, of model hubs. And who looks for replacement characters himself.
    private static readonly string[] s_allowed =
    [
        "src/LongLora.Cli/ChatTerminal.cs",
        "src/LongLora.Cli/CliJob.cs",
        "src/LongLora.Cli/Program.cs",
        "src/LongLora.Documents/Corpus/IgnoreRules.cs",
        "src/LongLora.Documents/Pdf/CompatibilityForms.cs",
        "src/LongLora.Documents/Questions/QuestionBuilder.cs",
        "src/LongLora.Documents/SourceCodeReader.cs",
        "src/LongLora.Hub/HubToken.cs",
        "src/LongLora.Hub/PartialBlob.cs",
        "src/LongLora.Hub/SnapshotStore.cs",
        "src/LongLora.Reports/Charts/StrokeFont.cs",
        "src/LongLora.Reports/HtmlPage.cs",
        "src/LongLora.Reports/RunReader.cs",
        "src/LongLora/Adapters/AdapterFiles.cs",
        "src/LongLora/Adapters/PeftConfig.cs",
        "src/LongLora/Configs/ModelConfigReader.cs",
        "src/LongLora/Evaluation/Files/EvaluationFile.cs",
        "src/LongLora/Export/CheckpointSummary.cs",
        "src/LongLora/Export/PaddingToken.cs",
        "src/LongLora/Loading/HubCache.cs",
        "src/LongLora/Loading/OllamaStore.cs",
        "src/LongLora/Runs/RunLock.cs",
        "src/LongLora/Runtime/AddressSpace.cs",
        "src/LongLora/Runtime/Checksums.cs",
        "src/LongLora/Runtime/FreeMemory.cs",
        "src/LongLora/Runtime/MemoryMeter.cs",
        "src/LongLora/Runtime/PythonTorch.cs",
        "src/LongLora/Tokenization/Unicode/CanonicalForm.cs",
        "src/LongLora/Training/MetricsLog.cs",
    ];

    [GeneratedRegex(@"File\.(ReadAllText|ReadAllLines|ReadLines|OpenText)\w*\(|new StreamReader\(|Console\.In\b")]
    private static partial Regex LenientRead();

    [Fact]
    public void Only_files_of_programs_are_read_leniently() =>
        Assert.Equal(
            s_allowed,
            Repository
                .CSharpFiles("src")
                .Where(file => !file.Contains("/build/", StringComparison.Ordinal))
                .Where(file => LenientRead().IsMatch(File.ReadAllText(Repository.At(file))))
                .Order(StringComparer.Ordinal)
        );
}
