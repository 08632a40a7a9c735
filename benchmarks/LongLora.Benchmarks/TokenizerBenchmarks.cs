using BenchmarkDotNet.Attributes;
using LongLora.Tokenization;

namespace LongLora.Benchmarks;

/// <summary>
/// One book in one call, with the words met before: what a long corpus settles to. Needs the folder <c>shared</c> beside the project.
/// </summary>
[MemoryDiagnoser]
public class TokenizerBenchmarks
{
    private ITokenizer? _tokenizer;
    private string _book = "";
    private int[] _ids = [];

    /// <summary>Folders of <c>shared/tokenizers</c>.</summary>
    [Params("llama2", "llama3", "gpt_neox", "qwen3")]
    public string Model { get; set; } = "";

    /// <summary>Opens the tokenizer and reads a book of 2.2 MB.</summary>
    [GlobalSetup]
    public void Open()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !Directory.Exists(Path.Combine(folder.FullName, "shared")))
            folder = folder.Parent;
        var shared = Path.Combine(
            folder?.FullName ?? throw new DirectoryNotFoundException("no folder 'shared' beside the project"),
            "shared"
        );
        _tokenizer = TokenizerLoader.Load(Path.Combine(shared, "tokenizers", Model));
        _book = File.ReadAllText(Path.Combine(shared, "data", "books", "train", "Adam_Smith_The_Wealth_of_Nations.txt"));
        _ids = [.. _tokenizer.Encode(_book)];
    }

    /// <summary>Text to ids.</summary>
    [Benchmark]
    public int Encode() => _tokenizer!.Encode(_book).Count;

    /// <summary>Ids to text.</summary>
    [Benchmark]
    public int Decode() => _tokenizer!.Decode(_ids).Length;
}
