using System.IO.Compression;
using System.Text;
using LongLora.Data;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public sealed class ConversationTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static ITokenizer Stories { get; } = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    private static ConversationSource Source(string path, string? template = "llama2", int length = 4096, params string[] columns) =>
        new([path], new ConversationFormat(columns), template is null ? null : ChatTemplate.Find(template, ""), Stories, 512, length);

    private List<Conversation> Read(string name, string text, params string[] columns) =>
        [.. Source(_folder.Text(name, text), columns: columns).ReadConversations()];

    private static string Short(Conversation conversation) => string.Join('|', conversation.Messages.Select(m => $"{m.Role}:{m.Content}"));

    private string Refused(string name, string text, params string[] columns) =>
        Assert.Throws<DataException>(() => Read(name, text, columns)).Message;

    public static TheoryData<string, string[]> Layouts() =>
        new()
        {
            { """{"instruction": "Q", "input": "", "output": "A"}""", ["user:Q|assistant:A"] },
            {
                """{"instruction": "Q", "input": "I", "output": "A", "system": "S", "history": [["q", "a"]]}""",
                ["system:S|user:q|assistant:a|user:Q\nI|assistant:A"]
            },
            {
                """{"instruction": "Q", "instances": [{"input": "1", "output": "a"}, {"input": "", "output": "b"}], "is_classification": false}""",
                ["user:Q\n1|assistant:a", "user:Q|assistant:b"]
            },
            {
                """{"id": "x", "conversations": [{"from": "gpt", "value": "unasked"}, {"from": "human", "value": "q"}, {"from": "function_call", "value": "f"}, {"from": "observation", "value": "o"}, {"from": "gpt", "value": "a"}]}""",
                ["user:q|assistant:f|tool:o|assistant:a"]
            },
            {
                """{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"role": "assistant", "content": null, "tool_calls": []}]}""",
                ["system:S|user:ab|assistant:"]
            },
            { """{"prompt": "p", "completion": " c"}""", ["user:p|assistant: c"] },
            {
                """{"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]}""",
                ["user:p|assistant:c"]
            },
        };

    [Theory]
    [MemberData(nameof(Layouts))]
    public void Read_every_layout_as_conversations(string json, string[] expected) =>
        Assert.Equal(expected, Read("a.json", json).Select(Short));

    [Fact]
    public void Read_columns_of_other_names_are_told()
    {
        Assert.Equal(
            "user:q\nc|assistant:a",
            Short(
                Read(
                        "a.jsonl",
                        """{"question": "q", "context": "c", "answer": "a"}""",
                        "instruction=question",
                        "input=context",
                        "output=answer"
                    )
                    .Single()
            )
        );
        var message = Refused("a.jsonl", """{"question": "q", "context": "c", "answer": "a"}""");
        Assert.Contains("question, context, answer", message, StringComparison.Ordinal);
        Assert.Contains("--columns instruction=question output=answer input=context", message, StringComparison.Ordinal);
        Assert.Contains(
            "Did you mean 'output'?",
            Assert.Throws<ConfigurationException>(() => new ConversationFormat(["ouput=x"])).Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("[\n {\"instruction\": \"1\",\n \"output\": \"a\"},\n\n{\"instruction\": \"2 \\\" ] }\", \"output\": \"b\"}\n]\n")]
    [InlineData("{\"instruction\": \"1\",\n \"output\": \"a\"}\n\n\n{\"instruction\": \"2 \\\" ] }\", \"output\": \"b\"}")]
    [InlineData("\uFEFF\n {\"instruction\": \"1\", \"output\": \"a\"}\n\n\r\n{\"instruction\": \"2 \\\" ] }\", \"output\": \"b\"}\r\n")]
    public void Read_arrays_and_lines_are_told_apart_by_what_they_are(string text)
    {
        foreach (var name in new[] { "a.json", "a.jsonl" })
        {
            var read = Read(name, text);
            Assert.Equal(["user:1|assistant:a", "user:2 \" ] }|assistant:b"], read.Select(Short));
            Assert.Equal(
                [_folder[name] + ":2", _folder[name] + ":5"],
                read.Select(c =>
                    c.Origin.Replace(name + ":1", name + ":2", StringComparison.Ordinal)
                        .Replace(name + ":4", name + ":5", StringComparison.Ordinal)
                )
            );
        }
    }

    [Theory]
    [InlineData("[{\"instruction\": \"1\", \"output\": \"a\"}", "a.json:1", "truncated")]
    [InlineData("[{\"instruction\": \"1\", \"outp", "a.json:1", "truncated")]
    [InlineData("[{\"instruction\": \"1\", \"output\": \"a\"}]\n{}", "a.json:2", "after the end")]
    [InlineData("[1]", "a.json:1", "Number")]
    [InlineData("\n{\"instruction\": \"1\", output}", "a.json:2", "JSON")]
    [InlineData("{\"instruction\": 1, \"output\": \"x\"}", "a.json:1", "'instruction' is Number")]
    [InlineData("{\"conversations\": {}}", "a.json:1", "must be a list")]
    [InlineData("{\"messages\": [{\"text\": \"x\"}]}", "a.json:1", "Its fields are text")]
    [InlineData("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", "a.json:1", "not text")]
    [InlineData("{\"text\": \"x\"}", "a.json:1", "longlora train")]
    [InlineData(
        "[{\"instruction\": \"1\", \"output\": \"a\"}, {\"instruction\": \"1\"}]",
        "a.json:1 (record 2)",
        "Its fields are instruction"
    )]
    [InlineData("{\"instruction\": \"1\", \"output\": null}", "a.json:1", "'output' is null")]
    [InlineData("{\"conversations\": \"x\"}", "a.json:1", "'conversations' is String")]
    [InlineData("{\"messages\": [], \"tools\": \"f()\"}", "a.json:1", "'tools' is a string")]
    [InlineData(
        """{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{broken"}}]}]}""",
        "a.json:1",
        "the arguments of a tool call are '{broken'"
    )]
    [InlineData(
        "{\"messages\": [{\"role\": \"assistant\", \"function_call\": {\"name\": \"f\", \"arguments\": \"{'a': 1}\"}}]}",
        "a.json:1",
        "which is not JSON"
    )]
    [InlineData("{\"conversations\": [{\"from\": \"function_call\", \"value\": \"{broken\"}]}", "a.json:1", "a tool call is '{broken'")]
    [InlineData("{\"instruction\": \"\\ud800\", \"output\": \"x\"}", "a.json:1", "Unicode")]
    public void Read_what_is_wrong_is_refused_with_its_place(string text, string place, string reason)
    {
        var message = Refused("a.json", text);
        Assert.Contains(place, message, StringComparison.Ordinal);
        Assert.Contains(reason, message, StringComparison.Ordinal);
    }

    // The text before the damage, the damaged record, and whether the file ends with it.
    [Theory]
    [InlineData("{\"text\": \"x", true)]
    [InlineData("{\"text\": \"x\"", true)]
    [InlineData("{\"text\": \"x\\", true)]
    [InlineData("{\"text\": {\"a\": [1, 2", true)]
    [InlineData("{\"text\": }", false)]
    [InlineData("{\"text\": [}", false)]
    [InlineData("{text: \"x", false)]
    public void Only_a_last_record_that_could_go_on_is_called_truncated(string record, bool isBeginning)
    {
        const string good = "{\"text\": \"a\", \"instruction\": \"1\", \"output\": \"a\"}\n";
        string Told(string text)
        {
            var asRecords = Refused("a.jsonl", text);
            using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text));
            var asLines = Assert.Throws<DataException>(() => JsonLines.Read(stream, _folder["a.jsonl"]).Count()).Message;
            foreach (var message in new[] { asRecords, asLines })
                Assert.StartsWith($"{_folder["a.jsonl"]}:4: ", message, StringComparison.Ordinal);
            var isTruncated = asRecords.Contains("truncated", StringComparison.Ordinal);
            Assert.Equal(isTruncated, asLines.Contains("truncated", StringComparison.Ordinal));
            Assert.Equal(!isTruncated, asRecords.Contains("not valid JSON: ", StringComparison.Ordinal));
            Assert.Equal(!isTruncated, asLines.Contains("not valid JSON: ", StringComparison.Ordinal));
            return isTruncated ? "truncated" : "not valid";
        }
        var before = string.Concat(Enumerable.Repeat(good, 3));
        Assert.Equal(isBeginning ? "truncated" : "not valid", Told(before + record));
        Assert.Equal("not valid", Told($"{before}{record}\n{good}"));
    }

    // A lost quote or brace must not bring the rest of the file into memory.
    [Theory]
    [InlineData("{\"instruction\": \"x\n")]
    [InlineData("{\"instruction\": \"x\"\n")]
    public void Read_stops_soon_after_the_damage(string record)
    {
        var good = Encoding.UTF8.GetBytes("{\"instruction\": \"1\", \"output\": \"a\"}\n");
        using var stream = new MemoryStream([.. Encoding.UTF8.GetBytes(record), .. Enumerable.Repeat(good, 500_000).SelectMany(b => b)]);
        var message = Assert.Throws<DataException>(() => new JsonRecords().ReadRecords(stream, "a.jsonl").Count()).Message;
        Assert.Contains("a.jsonl:1: not valid JSON", message, StringComparison.Ordinal);
        Assert.InRange(stream.Position, 1, 4 << 20);
    }

    [Fact]
    public void Read_tools_and_their_calls_are_kept_as_openai_writes_them()
    {
        var read = Read(
            "a.jsonl",
            """
            {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"}, {"from": "observation", "value": "o"}], "tools": "[{\"name\": \"f\"}]"}
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}], "tools": [{"name": "f"}]}
            {"messages": [{"role": "user", "content": "q"}], "tools": ""}
            """
        );
        Assert.Equal("""[{"name": "f"}]""", read[0].Tools!.Value.GetRawText());
        Assert.Equal("""[{"name": "f"}]""", read[1].Tools!.Value.GetRawText());
        Assert.Null(read[2].Tools);
        Assert.Equal("user:q|assistant:|tool:o", Short(read[0]));
        foreach (var call in new[] { read[0].Messages[1], read[1].Messages[1] })
            Assert.Equal(
                """[{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]""",
                call.Further![ToolCalls.Member].GetRawText()
            );
    }

    [Fact]
    public void Read_counts_what_the_template_does_not_write()
    {
        var path = _folder.Text(
            "a.json",
            """[{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": [{"name": "f"}]}]"""
        );
        var ended = Source(path);
        Assert.Single(ended.Read());
        Assert.Equal((1, 0), (ended.WithoutTools, ended.WithoutEnd));
        var endless = Source(path, _folder.Text("endless.jinja", "{{ tools }}{% for m in messages %}{{ m.content }}\n{% endfor %}"));
        Assert.Single(endless.Read());
        Assert.Equal((0, 1), (endless.WithoutTools, endless.WithoutEnd));
    }

    [Theory]
    [InlineData("", "there are no records")]
    [InlineData("[]", "there are no records")]
    [InlineData("{\"instruction\": \"q\", \"output\": \"\"}", "none of 1 conversations has an answer")]
    public void Read_data_without_an_answer_is_refused(string text, string reason) =>
        Assert.Contains(
            reason,
            Assert.Throws<DataException>(() => Source(_folder.Text("a.json", text)).Read().Count()).Message,
            StringComparison.Ordinal
        );

    [Fact]
    public void Read_records_longer_than_the_buffer_come_whole()
    {
        string[] texts = [new string('x', 200_000), new string('é', 70_000), "short", string.Concat(Enumerable.Repeat("\\\"", 60_000))];
        var json = "[" + string.Join(",\n", texts.Select(t => $$"""{"instruction": "{{t}}", "output": "a"}""")) + "]";
        Assert.Equal(
            texts.Select(t => t.Replace("\\\"", "\"", StringComparison.Ordinal)),
            Read("a.json", json).Select(c => c.Messages[0].Content)
        );
    }

    [Theory]
    [InlineData("a.json.gz")]
    [InlineData("a.jsonl.zst")]
    public void Read_packed_files_and_refuses_them_cut_off(string name)
    {
        var text = string.Join('\n', Enumerable.Range(0, 5000).Select(i => $$"""{"instruction": "{{i}}", "output": "{{i * i}}"}"""));
        using var memory = new MemoryStream();
        using (
            Stream packer = name.EndsWith("gz", StringComparison.Ordinal)
                ? new GZipStream(memory, CompressionLevel.Fastest)
                : new ZstdSharp.CompressionStream(memory)
        )
            packer.Write(Encoding.UTF8.GetBytes(text));
        File.WriteAllBytes(_folder[name], memory.ToArray());
        Assert.Equal(5000, Source(_folder[name]).ReadConversations().Count());
        File.WriteAllBytes(_folder[name], memory.ToArray()[..^20]);
        Assert.Contains(
            "is not a complete",
            Assert.Throws<DataException>(() => Source(_folder[name]).ReadConversations().Count()).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Read_examples_have_the_answers_as_labels()
    {
        var path = _folder.Text(
            "a.jsonl",
            """
            {"instruction": "What is it?", "output": "A cat."}
            {"instruction": "And this?", "output": ""}
            {"messages": [{"role": "user", "content": "nobody answers"}]}
            {"prompt": "One, two,", "completion": " three."}
            """
        );
        var source = Source(path);
        var examples = source.Read().ToList();
        Assert.Equal(2, examples.Count);
        Assert.Equal(2, source.LeftOut);
        string Learnt(TrainingExample example) => Stories.Decode([.. example.Labels!.Where(l => l >= 0)], skipSpecial: false);
        Assert.Equal(["A cat.</s>", "three.</s>"], examples.Select(Learnt));
        Assert.Equal("<s> [INST] What is it? [/INST] A cat.</s>", Stories.Decode([.. examples[0].Ids], skipSpecial: false));
        Assert.Equal([path + ":1", path + ":4"], examples.Select(e => e.Origin));
        var error = Assert.Throws<ConfigurationException>(() => Source(path, template: null).Read().Count());
        Assert.Contains("no chat template", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Shorten_keeps_answers_and_both_ends_of_what_is_read()
    {
        const int no = TrainingExample.IgnoredLabel;
        int[] ids = [.. Enumerable.Range(0, 1000)];
        // Read 0-599 and 700-799; learnt 600-699 and 800-999.
        int[] labels = [.. ids.Select(i => i < 600 || i is >= 700 and < 800 ? no : i)];
        foreach (var length in new[] { 999, 700, 450, 430 })
        {
            var (shorter, none) = ExampleShortener.Shorten(new TrainingExample(ids, labels, "a"), length);
            Assert.Equal(0, none);
            Assert.Equal(length, shorter.Ids.Count);
            Assert.Equal(labels.Where(l => l >= 0), shorter.Labels!.Where(l => l >= 0));
            Assert.Equal(Enumerable.Range(0, 32), shorter.Ids.Take(32));
            Assert.Equal(Enumerable.Range(568, 32), shorter.Ids.SkipWhile(i => i < 568).Take(32));
            Assert.Equal(shorter.Ids.Order(), shorter.Ids);
            Assert.All(Enumerable.Range(0, length), i => Assert.True(shorter.Labels![i] == no || shorter.Labels[i] == shorter.Ids[i]));
        }
        // The answers alone are longer than this: the end goes.
        var (cut, answers) = ExampleShortener.Shorten(new TrainingExample(ids, labels, "a"), 200);
        Assert.Equal(1, answers); // of two
        Assert.Equal(200, cut.Ids.Count);
        Assert.Equal(Enumerable.Range(600, 100), cut.Labels!.Where(l => l >= 0).Take(100));
    }

    private static string Turns(int count, string question, string answer) =>
        $$"""{"messages": [{{string.Join(", ", Enumerable.Repeat($$"""{"role": "user", "content": "{{question}}"}, {"role": "assistant", "content": "{{answer}}"}""", count))}}]}""";

    [Fact]
    public void Read_counts_and_names_answers_that_do_not_fit()
    {
        var path = _folder.Text(
            "a.jsonl",
            $"""
            {Turns(1, "Why?", "Because.")}
            {Turns(1, "Why?", string.Concat(Enumerable.Repeat("Because it is so. ", 40)))}
            {Turns(6, "Why?", "Because it is what it is and was.")}
            """
        );
        var source = Source(path, "chatml", 120);
        var examples = source.Read().ToList();
        bool Ends(TrainingExample example) =>
            Stories.Decode([.. example.Labels!.Where(l => l >= 0)]).EndsWith("<|im_end|>", StringComparison.Ordinal);
        Assert.True(Ends(examples[0]));
        Assert.False(Ends(examples[1]));
        var whole = Source(path, "chatml").Read().Last();
        Assert.InRange(examples[2].Labels!.Count(l => l >= 0), 1, whole.Labels!.Count(l => l >= 0) / 2);
        Assert.Equal((2L, 2L), (source.Shortened, source.Cut.Count));
        Assert.InRange(source.CutAnswers, 4, 6);
        Assert.Equal([path + ":2", path + ":3"], source.Cut.First);
        // Only the first one teaches the model to stop.
        Assert.Equal((1, 0), (source.EndedByText, source.WithoutEnd));
        var note = Assert.Single(TrainingData.NotesOn(120, [source]), n =>
            n.Contains("do not teach the model to stop", StringComparison.Ordinal)
        );
        Assert.StartsWith($"{source.CutAnswers} answers in 2 examples did not fit into 120 tokens.", note, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_shortens_texts_and_not_the_marks_between_messages()
    {
        var path = _folder.Text(
            "a.jsonl",
            """{"messages": [{"role": "system", "content": "Be very kind to all."}, {"role": "user", "content": "What is it that you saw?"}, {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "And then?"}, {"role": "user", "content": "Tell me about all of it."}, {"role": "assistant", "content": "A dog."}]}"""
        );
        var length = Source(path, "chatml").Read().Single().Ids.Count;
        var tried = 0;
        for (var most = length - 1; most > 40; most--)
        {
            var source = Source(path, "chatml", most);
            var example = source.Read().Single();
            if (source.CutAnswers > 0)
                break;
            var text = Stories.Decode([.. example.Ids], skipSpecial: false);
            var rest = text.Replace("<|im_start|>", "", StringComparison.Ordinal).Replace("<|im_end|>", "", StringComparison.Ordinal);
            Assert.True(rest.IndexOfAny(['<', '|', '>', '_']) < 0, $"{most} of {length} tokens: {text}");
            tried++;
        }
        Assert.True(tried > 5, $"{tried} of {length}");
    }

    [Theory]
    [InlineData("", "llama2")]
    [InlineData("   ", "llama2")]
    [InlineData("   ", "chatml")]
    [InlineData("", "generation")]
    [InlineData("   ", "generation")]
    public void Read_leaves_out_empty_answers_in_every_layout(string answer, string template)
    {
        if (template == "generation")
            template = _folder.Text(
                "generation.jinja",
                "{% for m in messages %}{{ m.role }}: {% generation %}{% if m.role == 'assistant' %}{{ m.content }}"
                    + "{{ eos_token }}{% endif %}"
                    + "{% endgeneration %}{% if m.role != 'assistant' %}{{ m.content }}{% endif %}\n{% endfor %}"
            );
        string[] records =
        [
            $$"""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "{{answer}}"}]}""",
            $$"""{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "{{answer}}"}]}""",
            $$"""{"instruction": "q", "output": "{{answer}}"}""",
            $$"""{"prompt": "q", "completion": "{{answer}}"}""",
            $$"""{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "{{answer}}"}]}""",
        ];
        foreach (var record in records)
        {
            var source = Source(_folder.Text("a.jsonl", record + "\n" + """{"prompt": "q", "completion": "a"}"""), template);
            Assert.True(source.Read().Count() == 1 && source.LeftOut == 1, record);
        }
    }

    [Theory]
    [InlineData("fastchat_dummy_conversation.json", "llama2")]
    [InlineData("gpteacher_toolformer06.json", "longalpaca")]
    [InlineData("llamafactory_alpaca_zh_demo.json", "alpaca")]
    [InlineData("llamafactory_glaive_toolcall_en_demo.json", "chatml")]
    [InlineData("alpaca_seed_tasks.jsonl", "mistral")]
    [InlineData("torchtune_alpaca_tiny.json", "llama3")]
    public void Read_published_data_learns_every_answer_and_no_question(string file, string template)
    {
        var source = Source(SharedMaterial.Shared("data", "sft", file), template, 1 << 20);
        var conversations = source
            .ReadConversations()
            .Where(c =>
                c.Messages.Select(m => ToolCalls.MoveToContent(m)).Any(m => m.Role == ChatMessage.Assistant && m.Content.Length > 0)
            )
            .Take(40)
            .ToList();
        var examples = source.Read().Take(40).ToList();
        foreach (var (example, conversation) in examples.Zip(conversations))
        {
            var learnt = Stories.Decode([.. example.Labels!.Where(l => l >= 0)], skipSpecial: true);
            Assert.Equal(conversation.Origin, example.Origin);
            var answers = conversation
                .Messages.Select(m => ToolCalls.MoveToContent(m))
                .Where(m => m.Role == ChatMessage.Assistant && m.Content.Trim().Length > 0)
                .Select(m => m.Content.Trim());
            foreach (var answer in answers)
                Assert.Contains(Letters(answer), Letters(learnt), StringComparison.Ordinal);
            Assert.True(Letters(learnt).Length <= Letters(string.Concat(answers)).Length + 80, learnt);
        }
        Assert.NotEmpty(examples);
    }

    private static string Letters(string text) => string.Concat(text.Where(char.IsAsciiLetter));
}
