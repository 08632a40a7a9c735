using LongLora.Data;
using LongLora.Runs;
using LongLora.Tests.Tokenization;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

/// <summary>What a template leaves out of answers is counted, and reasoning can be kept.</summary>
public sealed class ReasoningTests : IDisposable
{
    // As DeepSeek's distilled models have it: what stands before the mark is dropped.
    private const string Dropping =
        "{% for m in messages %}{% set c = m.content %}{% if m.role == 'assistant' %}{% if '</think>' in c %}"
        + "{% set c = c.split('</think>')[-1] %}{% endif %}{{ '<a>' + c + '</s>' }}{% else %}{{ '<u>' + c }}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<a>' }}{% endif %}";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static ITokenizer Stories { get; } = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    private const string InContent =
        """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nWHY\n</think>\n\nfour"}]}""";

    private const string InField =
        """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "four", "reasoning_content": "WHY"}]}""";

    private (string Learned, ConversationSource Source) Read(string json, string template, bool keep)
    {
        var chat = ChatTemplate.Parse(template, "test");
        var path = _folder.Text("a.jsonl", json);
        var source = new ConversationSource([path], new ConversationFormat(), chat, Stories, 512, 4096, keepReasoning: keep);
        var learned = source.Read().Select(e => Stories.Decode([.. e.Labels!.Where(l => l >= 0)], skipSpecial: false));
        return (string.Concat(learned).Trim(), source);
    }

    [Theory]
    [InlineData(InContent)]
    [InlineData(InField)]
    public void Read_counts_what_the_template_leaves_out_and_keeps_it_if_asked(string json)
    {
        var (learned, source) = Read(json, Dropping, keep: false);
        Assert.Equal("four</s>", learned);
        Assert.Equal((1, 3, 7), source.Unwritten);
        var note = Assert.Single(TrainingData.NotesOn(4096, [source]));
        Assert.Contains("3 of 7 characters of the answers, in 1 examples", note, StringComparison.Ordinal);
        Assert.Contains("keep-reasoning", note, StringComparison.Ordinal);

        (learned, source) = Read(json, Dropping, keep: true);
        Assert.Equal("<think>\nWHY\n</think>\n\nfour</s>", learned);
        Assert.Equal((0, 0, 7), source.Unwritten);
        Assert.Empty(TrainingData.NotesOn(4096, [source]));
    }

    [Fact]
    public void Read_says_what_a_template_without_marks_of_reasoning_leaves_out()
    {
        const string template = "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '</s>' }}{% endfor %}";
        var (learned, source) = Read(InField, template, keep: true);
        Assert.Equal("four</s>", learned);
        Assert.Equal((1, 3, 7), source.Unwritten);
        Assert.DoesNotContain("keep-reasoning", TrainingData.NotesOn(4096, [source]).Single(), StringComparison.Ordinal);
        Assert.Equal((0, 0, 7), Read(InContent, template, keep: false).Source.Unwritten);
    }

    [Theory]
    [InlineData("{{ m.content | trim }}", 0)]
    [InlineData("{{ m.content | tojson }}", 0)]
    [InlineData("{{ m.content[:4] }}", 6)]
    [InlineData("{{ m.content[2:] }}", 1)]
    [InlineData("{{ m.content.replace('d', '') }}", 1)]
    [InlineData("", 9)]
    public void Read_counts_characters_that_are_missing_anywhere(string written, int missing)
    {
        var template =
            $"{{% for m in messages %}}{{% if m.role == 'user' %}}{{{{ m.content }}}}{{% else %}}{written}</s>{{% endif %}}{{% endfor %}}";
        const string json =
            """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " abc\n\"def\"\tg "}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "unlearned", "weight": 0}]}""";
        var chat = ChatTemplate.Parse(template, "test");
        var read = new ConversationFiles([_folder.Text("a.jsonl", json)], new ConversationFormat()).Read().Single();
        Assert.Equal((missing, 9), chat.Render(read.Messages, Stories).CountUnwritten(read.Messages));
    }

    [Fact]
    public void Read_qwen3_writes_the_reasoning_of_the_last_answer_and_on_request_of_all()
    {
        var template = ChatTemplate.Find("auto", SharedMaterial.Shared("tokenizers", "qwen3"));
        var tokenizer = Tokenizers.Open("qwen3", "tokenizer.json");
        var answer = InField.Replace("""{"messages": [""", "", StringComparison.Ordinal).Replace("]}", "", StringComparison.Ordinal);
        var path = _folder.Text("a.jsonl", $$"""{"messages": [{{answer}}, {{answer}}]}""");
        ConversationSource Source(bool keep) =>
            new([path], new ConversationFormat(), template, tokenizer, tokenizer.VocabularySize, 4096, keepReasoning: keep);
        var source = Source(false);
        Assert.Single(source.Read());
        Assert.Equal((1, 3, 14), source.Unwritten);
        source = Source(true);
        var labels = source.Read().Single().Labels!.Where(l => l >= 0).ToArray();
        Assert.Equal((0, 0, 14), source.Unwritten);
        const string whole = "<think>\nWHY\n</think>\n\nfour<|im_end|>";
        Assert.Equal(whole + whole, tokenizer.Decode(labels, skipSpecial: false));
    }
}
