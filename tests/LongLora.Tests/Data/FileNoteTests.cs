using LongLora.Data;
using LongLora.Runs;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public sealed class FileNoteTests : IDisposable
{
    private static readonly ITokenizer s_stories = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static string[] Read(IExampleSource source)
    {
        Assert.NotEmpty(source.Read().ToList()); // to the end: what was not read is known then
        return [.. TrainingData.NotesOn(512, [source])];
    }

    [Fact]
    public void NotesOn_texts_names_files_of_which_nothing_is_read()
    {
        _folder.Text("a.txt", "A text.");
        Assert.Empty(Read(ExampleSources.Open([_folder.Root], s_stories, 512)));
        foreach (var name in new[] { "g.doc", "h.doc", "LICENSE", ".hidden" })
            _folder.Text(name, "x");
        Directory.CreateDirectory(_folder[".git"]);
        _folder.Text(Path.Combine(".git", "index.pack"), "x");
        _folder.Text("empty.txt", "");
        Assert.Equal(
            [
                "Not read because their type is not supported: 2 .doc, 1 without an extension. Convert those that you need.",
                $"1 file without text: {_folder["empty.txt"]}.",
            ],
            Read(ExampleSources.Open([_folder.Root], s_stories, 512))
        );
        // A file that is named itself is refused where it cannot be read, so only its emptiness is told.
        Assert.Single(Read(ExampleSources.Open([_folder["a.txt"], _folder["empty.txt"]], s_stories, 512)));
    }

    [Fact]
    public void NotesOn_conversations_names_files_of_which_nothing_is_read()
    {
        _folder.Text("a.jsonl", """{"prompt": "q", "completion": "a"}""");
        _folder.Text("b.txt", "text");
        _folder.Text("empty.jsonl", "");
        var source = new ConversationSource([_folder.Root], new ConversationFormat(), null, s_stories, 512, 512);
        var notes = Read(source);
        Assert.Contains("Not read because their type is not supported: 1 .txt. Convert those that you need.", notes);
        Assert.Contains($"1 file without text: {_folder["empty.jsonl"]}.", notes);
    }
}
