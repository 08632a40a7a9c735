using System.Runtime.InteropServices;
using System.Text.Json;
using LongLora.Data;
using LongLora.Documents.Corpus;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Documents.Tests.Corpus;

public class CorpusBuilderTests : TemporaryFolder
{
    private PrepareOptions Options(string output, CorpusFormat format = CorpusFormat.Jsonl, string? model = null) =>
        new()
        {
            Data = [At("in")],
            Output = At(output),
            Format = format,
            Model = model,
            Parallel = 2,
        };

    private static string? ModelFor(CorpusFormat format) => format == CorpusFormat.Bin ? Stories : null;

    /// <summary>Some files of every kind; one is longer than what is tokenised at once.</summary>
    private void WriteInput()
    {
        Write("in/b.txt", "Second.  \r\nline\n\n\n\n\nend");
        Write("in/a.md", "# First\n");
        Write("in/page.html", "<main><p>From a page.</main><footer>x</footer>");
        Write("in/lines.jsonl", "{\"text\":\"one\"}\n{\"text\":\" \"}\n{\"text\":\"three\"}\n");
        Write("in/code/x.py", "def f():\n    return 1\n");
        Write("in/code/bin/made.py", "not read\n");
        Write("in/.hidden/x.txt", "not read\n");
        Write("in/empty.txt", "\n \n");
        Write("in/long.txt", string.Concat(Enumerable.Range(0, 12_000).Select(i => $"Sentence {i} of the long file.\n")));
        File.Copy(Material("two-columns.pdf"), At("in", "paper.pdf"), true);
        File.Copy(Material("pandoc.docx"), At("in", "word.docx"), true);
    }

    private static List<(string Source, string Text)> ReadJson(string path) =>
        [
            .. File.ReadLines(path)
                .Select(l => JsonDocument.Parse(l).RootElement)
                .Select(e => (e.GetProperty("source").GetString()!, e.GetProperty("text").GetString()!)),
        ];

    [Fact]
    public void Build_reads_every_kind_in_order_of_names_and_cleans_it()
    {
        WriteInput();
        var report = CorpusBuilder.Build(Options("out"));
        var documents = ReadJson(At("out", "documents.jsonl"));
        Assert.Equal(
            [
                "in/a.md",
                "in/b.txt",
                "in/code/x.py",
                "in/lines.jsonl:1",
                "in/lines.jsonl:3",
                "in/long.txt",
                "in/page.html",
                "in/paper.pdf",
                "in/word.docx",
            ],
            documents.Select(d => d.Source)
        );
        Assert.Equal("Second.\nline\n\n\nend", documents[1].Text);
        Assert.Equal("def f():\n    return 1", documents[2].Text);
        Assert.Equal("From a page.", documents[6].Text);
        Assert.StartsWith("The Struggle for Existence", documents[7].Text, StringComparison.Ordinal);
        Assert.Equal((9, documents.Sum(d => d.Text.Length)), (report.Documents, report.Characters));
        Assert.Equal((9, report.Characters), (report.Lengths.Documents, report.Lengths.Length));
        Assert.Equal(documents.Max(d => d.Text.Length), report.Lengths.Longest);
        Assert.Empty(report.LeftOut);
        Assert.Equal(
            ["documents.jsonl", "manifest.json"],
            Directory.EnumerateFileSystemEntries(At("out")).Select(Path.GetFileName).Order()
        );
    }

    [Fact]
    public void Build_names_types_that_are_not_read_and_files_without_text()
    {
        Write("in/a.txt", "Text.");
        Write("in/empty.md", " \n");
        Write("in/nothing.html", "<html><body></body></html>");
        foreach (var name in (string[])["x.doc", "y.DOC", "z.pages.gz", "LICENSE", "a. sentence", ".hidden", "sub/k.doc"])
            Write($"in/{name}", "?");
        var report = CorpusBuilder.Build(Options("out"));
        Assert.Equal([new(".doc", 3), new("", 2), new(".pages", 1)], report.Unread);
        Assert.Equal(["in/empty.md", "in/nothing.html"], report.WithoutText);
        Assert.Equal(
            "3 .doc, 2 without an extension, 1 .pages",
            FileNotes.List([.. report.Unread.Select(kind => (kind.Extension, kind.Files))])
        );
        File.Delete(At("in", "a.txt"));
        File.Delete(At("in", "empty.md"));
        File.Delete(At("in", "nothing.html"));
        Assert.Contains(
            "3 .doc",
            Assert.Throws<DataException>(() => CorpusBuilder.Build(Options("none"))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Build_tokens_are_those_of_the_texts_with_BOS_before_each()
    {
        WriteInput();
        var report = CorpusBuilder.Build(Options("out", CorpusFormat.Bin, Stories));
        var counted = CorpusBuilder.Build(Options("texts", model: Stories));
        var tokenizer = TokenizerLoader.Load(Stories);
        var expected = ReadJson(At("texts", "documents.jsonl"))
            .SelectMany(d => tokenizer.Encode(d.Text, addSpecial: true))
            .Select(i => (ushort)i)
            .ToArray();
        Assert.Equal(expected, MemoryMarshal.Cast<byte, ushort>(File.ReadAllBytes(At("out", "tokens.bin"))).ToArray());
        Assert.Equal((expected.Length, 2), (report.Tokens, report.TokenWidth));
        Assert.Equal((expected.Length, null), (counted.Tokens, counted.TokenWidth));
        Assert.Equal(9, expected.Count(i => i == tokenizer.BosTokenId));
        // What training reads is what was written.
        Assert.Equal(expected.Select(i => (int)i), ExampleSources.Open([At("out")], null, 512).Read().SelectMany(e => e.Ids));
    }

    [Theory]
    [InlineData(CorpusFormat.Jsonl)]
    [InlineData(CorpusFormat.Txt)]
    [InlineData(CorpusFormat.Bin)]
    public void Build_gives_the_same_bytes_whatever_the_parallelism(CorpusFormat format)
    {
        WriteInput();
        for (var i = 0; i < 80; i++)
            Write($"in/many/{i}.txt", $"File number {i}.");
        var first = Snapshot(CorpusBuilder.Build(Options("one", format, ModelFor(format)) with { Parallel = 1 }).Path);
        Assert.Equal(format == CorpusFormat.Txt ? 89 : 1, first.Count);
        Assert.Equal(first, Snapshot(CorpusBuilder.Build(Options("four", format, ModelFor(format)) with { Parallel = 4 }).Path));
    }

    private static List<(string, string)> Snapshot(string path) =>
        File.Exists(path)
            ? [("", Convert.ToHexString(File.ReadAllBytes(path)))]
            :
            [
                .. Directory
                    .EnumerateFiles(path, "*", SearchOption.AllDirectories)
                    .Order(StringComparer.Ordinal)
                    .Select(f => (Path.GetRelativePath(path, f), File.ReadAllText(f))),
            ];

    [Theory]
    [InlineData(CorpusFormat.Jsonl)]
    [InlineData(CorpusFormat.Txt)]
    [InlineData(CorpusFormat.Bin)]
    public void Build_stopped_and_run_again_ends_with_the_same_bytes_and_does_nothing_twice(CorpusFormat format)
    {
        WriteInput();
        for (var i = 0; i < 80; i++)
            Write($"in/many/{i}.txt", $"File number {i}.");
        var whole = Snapshot(CorpusBuilder.Build(Options("whole", format, ModelFor(format))).Path);
        using var stop = new CancellationTokenSource();
        var options = Options("stopped", format, ModelFor(format)) with { Parallel = 1 };
        Assert.ThrowsAny<OperationCanceledException>(() => CorpusBuilder.Build(options, new Stopper(stop, 70), stop.Token));
        Assert.False(
            File.Exists(At("stopped", "manifest.json"))
                || File.Exists(At("stopped", "tokens.bin"))
                || File.Exists(At("stopped", "documents.jsonl"))
        );
        Assert.Empty(Directory.EnumerateFiles(At("stopped"), "*.partial-*", SearchOption.AllDirectories));
        // A file of the first unit becomes another one that looks the same from outside: the result does not change, so nobody has read
        // it again.
        var (path, time) = (At("in", "a.md"), File.GetLastWriteTimeUtc(At("in", "a.md")));
        File.WriteAllText(path, new string('x', (int)new FileInfo(path).Length));
        File.SetLastWriteTimeUtc(path, time);
        Assert.Equal(whole, Snapshot(CorpusBuilder.Build(options).Path));
        Assert.False(Directory.Exists(At("stopped", ".parts")));
    }

    private sealed class Stopper(CancellationTokenSource source, int files) : IProgress<PrepareProgress>
    {
        public void Report(PrepareProgress value)
        {
            if (value.Files == files)
                source.Cancel();
        }
    }

    [Theory]
    [InlineData(CorpusFormat.Jsonl)]
    [InlineData(CorpusFormat.Txt)]
    public void Build_over_a_finished_corpus_reads_only_what_changed(CorpusFormat format)
    {
        WriteInput();
        var options = Options("out", format);
        CorpusBuilder.Build(options);
        var again = CorpusBuilder.Build(options);
        Assert.Equal((again.Files, again.Files), (again.TakenOver, 9));
        Write("in/b.txt", "Another text.");
        Write("in/new/n.txt", "A new file.");
        File.Delete(At("in", "page.html"));
        var changed = CorpusBuilder.Build(options);
        Assert.Equal((7, 9), (changed.TakenOver, changed.Files));
        Assert.Equal(Snapshot(CorpusBuilder.Build(Options("anew", format)).Path), Snapshot(changed.Path));
    }

    [Theory]
    [InlineData(CorpusFormat.Jsonl)]
    [InlineData(CorpusFormat.Txt)]
    public void Build_unreadable_files_are_left_out_and_named(CorpusFormat format)
    {
        WriteInput();
        File.Copy(Material("encrypted.pdf"), At("in", "locked.pdf"));
        Write("in/z.jsonl", "{\"text\":\"written and taken back\"}\n{\"body\":\"x\"}\n");
        File.WriteAllBytes(At("in", "latin.txt"), [(byte)'a', 0xE9, (byte)'b']);
        for (var run = 0; run < 2; run++)
        {
            var report = CorpusBuilder.Build(Options("out", format));
            Assert.Equal(["in/latin.txt", "in/locked.pdf", "in/z.jsonl"], report.LeftOut.Select(f => f.Name));
            Assert.Contains("password", report.LeftOut[1].Reason, StringComparison.Ordinal);
            Assert.Contains("z.jsonl:2", report.LeftOut[2].Reason, StringComparison.Ordinal);
            var texts =
                format == CorpusFormat.Jsonl
                    ? File.ReadAllLines(At("out", "documents.jsonl"))
                    : [.. Directory.GetFiles(At("out"), "*.txt", SearchOption.AllDirectories).Select(File.ReadAllText)];
            Assert.Equal(9, texts.Length);
            Assert.DoesNotContain(texts, text => text.Contains("taken back", StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Build_file_that_ends_its_reader_is_left_out_and_the_others_are_read()
    {
        WriteInput();
        File.WriteAllBytes(At("in", "c.pdf"), LongLora.Tests.HostileDocuments.All["form-calls-itself.pdf"]());
        File.WriteAllBytes(At("in", "d.docx"), LongLora.Tests.HostileDocuments.All["runs-100k.docx"]());
        var report = CorpusBuilder.Build(Options("out"));
        Assert.Equal(["in/c.pdf", "in/d.docx"], report.LeftOut.Select(f => f.Name));
        Assert.All(report.LeftOut, f => Assert.Contains("nested too deeply", f.Reason, StringComparison.Ordinal));
        Assert.Equal(9, ReadJson(At("out", "documents.jsonl")).Count);
    }

    [Fact]
    public void Build_output_of_other_settings_or_of_somebody_else_is_refused()
    {
        WriteInput();
        CorpusBuilder.Build(Options("out"));
        Assert.Contains(
            "made with other settings",
            Assert.Throws<ConfigurationException>(() => CorpusBuilder.Build(Options("out", model: Stories))).Message,
            StringComparison.Ordinal
        );
        Write("theirs/letter.txt", "x");
        Assert.Contains(
            "not empty",
            Assert.Throws<ConfigurationException>(() => CorpusBuilder.Build(Options("theirs"))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "no model",
            Assert.Throws<ConfigurationException>(() => CorpusBuilder.Build(Options("new", CorpusFormat.Bin))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Build_corpus_that_was_cut_is_made_anew()
    {
        WriteInput();
        CorpusBuilder.Build(Options("out"));
        var path = At("out", "documents.jsonl");
        var whole = File.ReadAllBytes(path);
        File.WriteAllBytes(path, whole[..^100]);
        Assert.Equal(0, CorpusBuilder.Build(Options("out")).TakenOver);
        Assert.Equal(whole, File.ReadAllBytes(path));
    }

    [Fact]
    public void Build_nothing_readable_says_why()
    {
        Write("in/x.unknown", "");
        Assert.Contains(".pdf", Assert.Throws<DataException>(() => CorpusBuilder.Build(Options("out"))).Message, StringComparison.Ordinal);
        Write("in/x.txt", " ");
        Assert.Contains(
            "contains no text",
            Assert.Throws<DataException>(() => CorpusBuilder.Build(Options("out"))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "nowhere",
            Assert.Throws<DataException>(() => CorpusBuilder.Build(Options("out") with { Data = [At("nowhere")] })).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Build_output_inside_the_data_is_not_read()
    {
        Write("in/a.txt", "text");
        for (var run = 0; run < 2; run++)
            Assert.Equal(1, CorpusBuilder.Build(Options("in") with { Output = At("in", "corpus") }).Files);
    }

    [Fact]
    public void Build_raw_keeps_every_character()
    {
        Write("in/a.txt", "a  \r\n\n\n\n\nb ");
        CorpusBuilder.Build(Options("out") with { Raw = true });
        Assert.Equal("a  \r\n\n\n\n\nb ", ReadJson(At("out", "documents.jsonl"))[0].Text);
    }

    [Fact]
    public void Source_code_that_programs_wrote_is_passed_over()
    {
        Write("in/a.cs", "// <auto-generated>\nclass A { }\n");
        Write("in/b.js", string.Concat(Enumerable.Repeat("x=1;", 4000)));
        Write("in/c.go", "package main\n");
        CorpusBuilder.Build(Options("out"));
        Assert.Equal(["in/c.go"], ReadJson(At("out", "documents.jsonl")).Select(d => d.Source));
    }

    [Fact]
    public void Preview_shows_tokens_of_the_first_documents()
    {
        WriteInput();
        var shown = CorpusBuilder.Preview(Options("-", CorpusFormat.Bin, Stories), 5).Take(2).ToList();
        Assert.Equal(["in/a.md", "in/b.txt"], shown.Select(s => s.Name));
        var tokens = TokenPreview.Read(shown[0].Example!, shown[0].Tokenizer!).ToList();
        Assert.Equal(5, tokens.Count);
        Assert.All(tokens, t => Assert.True(t.IsLearned));
        Assert.False(Directory.Exists(At("-")));
    }
}
