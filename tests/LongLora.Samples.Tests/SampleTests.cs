using System.Reflection;
using LongLora.Adapters;

namespace LongLora.Samples.Tests;

/// <summary>Runs every sample in this process, each as short as it can be.</summary>
public sealed class SampleTests : IDisposable
{
    private const string Question = "What is the pass key? The pass key is\n";
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    [Fact]
    public void Extend_a_model_prints_perplexities_and_leaves_an_adapter()
    {
        var output = Run("01-extend-a-model", "", At("run"), "1", "0.06");
        Assert.Contains("LongLoRA, 1 steps", output, StringComparison.Ordinal);
        Assert.True(PeftFormat.IsAdapter(At("run", "run", "adapter")), output);
    }

    [Fact]
    public void Fine_tune_on_documents_leaves_a_model_that_chat_with_a_document_opens()
    {
        Directory.CreateDirectory(At("documents"));
        var sentences = string.Concat(
            Enumerable.Range(0, 400).Select(i => $"The boat of day {i} came with {i % 7} boxes of fish and {i % 11} of salt.\n")
        );
        File.WriteAllText(At("documents", "a.md"), sentences);
        File.WriteAllText(At("documents", "b.html"), $"<html><body><p>{sentences[..6000]}</p></body></html>");
        var output = Run("02-fine-tune-on-your-documents", "", At("documents"), Bundled, At("run"), "1");
        Assert.Contains("1 documents to train on, 1 to measure", output, StringComparison.Ordinal);
        Assert.Contains("2,048 tokens of context", output, StringComparison.Ordinal);
        Assert.True(PeftFormat.IsAdapter(At("run", "run", "adapter")), output);

        File.WriteAllText(At("note.txt"), "The pass key is 5. Remember it.");
        Assert.Contains(
            "tokens read",
            Run("03-chat-with-a-document", Question, At("note.txt"), At("run", "model")),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Chat_with_a_document_finds_what_is_in_it_and_reads_it_once()
    {
        var output = Run("03-chat-with-a-document", Question + Question + "\n");
        Assert.Equal(2, output.Split("> ").Count(part => part.StartsWith(" 71432", StringComparison.Ordinal)));
        Assert.Contains(" 0 of them known from before", output, StringComparison.Ordinal);
        Assert.Equal(2, output.Split("[").Count(part => part.Contains("known from before", StringComparison.Ordinal)));
        Assert.DoesNotContain(" 0 of them", output[output.LastIndexOf('[')..], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Serve_answers_at_its_own_endpoint_and_at_that_of_OpenAI()
    {
        var stop = TestContext.Current.CancellationToken;
        using var enter = new Enter();
        using var said = new Said();
        var serving = Task.Run(() => Run("04-serve", enter, said, Bundled, "0"), stop);
        if (await Task.WhenAny(serving, said.Address) == serving)
            await serving; // it did not start, and says why
        var address = await said.Address;
        using (var http = new HttpClient())
        {
            using var text = new StringContent("The pass key is 71432. Remember it. 71432 is the pass key.");
            Assert.Contains(
                "\"passKey\":\"71432\"",
                await (await http.PostAsync(new Uri(address + "/pass-key"), text, stop)).Content.ReadAsStringAsync(stop),
                StringComparison.Ordinal
            );
            Assert.Contains("longlora-tiny", await http.GetStringAsync(new Uri(address + "/v1/models"), stop), StringComparison.Ordinal);
        }
        enter.Press();
        await serving;
    }

    [Fact]
    public void Your_own_data_is_learnt()
    {
        var output = Run("05-your-own-data", "", At("run"));
        var after = output[output.IndexOf("after:", StringComparison.Ordinal)..];
        Assert.Contains("Where is the hammer? It is in the cellar ", after, StringComparison.Ordinal);
        Assert.True(PeftFormat.IsAdapter(At("run", "adapter")), output);
    }

    [Fact]
    public void Every_sample_is_listed_and_at_most_80_lines_long()
    {
        var samples = Repository.At("samples");
        var list = File.ReadAllText(Path.Combine(samples, "README.md"));
        foreach (var sample in Directory.GetDirectories(samples))
        {
            Assert.Contains(Path.GetFileName(sample), list, StringComparison.Ordinal);
            Assert.InRange(File.ReadAllLines(Path.Combine(sample, "Program.cs")).Length, 10, 80);
        }
    }

    private static string Bundled => Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");

    private string At(params string[] parts) => Path.Combine([_folder, .. parts]);

    // The console is the process's own; tests of one class run one after the other.
    private static string Run(string sample, string input, params string[] arguments)
    {
        using StringReader given = new(input);
        using StringWriter said = new();
        Run(sample, given, said, arguments);
        return said.ToString();
    }

    private static void Run(string sample, TextReader given, TextWriter said, params string[] arguments)
    {
        var (oldIn, oldOut) = (Console.In, Console.Out);
        Console.SetIn(given);
        Console.SetOut(said);
        try
        {
            Assembly.Load(sample).EntryPoint!.Invoke(null, [arguments]);
        }
        finally
        {
            Console.SetIn(oldIn);
            Console.SetOut(oldOut);
        }
    }

    // A reader whose line comes when it is told to.
    private sealed class Enter : TextReader
    {
        private readonly ManualResetEventSlim _pressed = new();

        internal void Press() => _pressed.Set();

        public override string? ReadLine()
        {
            _pressed.Wait();
            return "";
        }
    }

    // A writer that looks for the address of a server.
    private sealed class Said : StringWriter
    {
        private readonly TaskCompletionSource<string> _address = new();

        internal Task<string> Address => _address.Task;

        public override void WriteLine(string? value)
        {
            if (value?.IndexOf("http:", StringComparison.Ordinal) is >= 0 and var start)
                _address.TrySetResult(value[start..value.IndexOf(';', start)]);
            base.WriteLine(value);
        }
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
