using LongLora.Data;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

/// <summary>Fields beside the texts of messages: those that decide what is learned are obeyed, unknown ones are refused by name.</summary>
public sealed class MessageFieldTests : IDisposable
{
    private const string Marks =
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>{% endgeneration %}"
        + "{% else %}{{ m.content }}{% endif %}{% endfor %}";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static ITokenizer Stories { get; } = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    private List<string> Learned(string json, string template = "llama2", params string[] ignored)
    {
        var chat = ChatTemplate.Find(template, "");
        var source = new ConversationSource(
            [_folder.Text("a.jsonl", json)],
            new ConversationFormat(null, ignored),
            chat,
            Stories,
            512,
            4096
        );
        return
        [
            .. source
                .Read()
                .Select(e => string.Concat(e.Labels!.Select(l => l < 0 ? "|" : Stories.Decode([l], skipSpecial: false))))
                .Select(t =>
                    string.Join('|', t.Split('|', StringSplitOptions.RemoveEmptyEntries)).Replace(" ", "", StringComparison.Ordinal)
                ),
        ];
    }

    private string Refused(string json) => Assert.Throws<DataException>(() => Learned(json)).Message;

    public static TheoryData<string, string> Weights() =>
        new()
        {
            { """{"role": "assistant", "content": "no", "weight": 0}""", """{"role": "assistant", "content": "yes", "weight": 1}""" },
            { """{"role": "assistant", "content": "no", "weight": 0.0}""", """{"role": "assistant", "content": "yes", "weight": null}""" },
            { """{"role": "assistant", "content": "no", "train": false}""", """{"role": "assistant", "content": "yes", "train": true}""" },
            { """{"role": "assistant", "content": "no", "loss": false}""", """{"role": "assistant", "content": "yes"}""" },
            { """{"from": "gpt", "value": "no", "train": false}""", """{"from": "gpt", "value": "yes"}""" },
            { """{"from": "gpt", "value": "no", "weight": 0}""", """{"from": "gpt", "value": "yes", "weight": 1.0}""" },
            { """{"from": "gpt", "value": "no", "training": 0}""", """{"from": "gpt", "value": "yes"}""" },
        };

    [Theory]
    [MemberData(nameof(Weights))]
    public void Read_learns_only_messages_that_ask_for_it_in_any_layout(string no, string yes)
    {
        var template = _folder.Text("marks.jinja", Marks);
        foreach (
            var (list, question) in new[]
            {
                ("messages", """{"role": "user", "content": "q"}"""),
                ("conversations", """{"from": "human", "value": "q", "weight": 0}"""),
            }
        )
        {
            var json = $$"""{"{{list}}": [{{question}}, {{no}}, {{question}}, {{yes}}]}""";
            Assert.Equal(["yes</s>"], Learned(json));
            Assert.Equal(["yes</s>"], Learned(json, template));
            Assert.Equal(["yes</s>"], Learned($$"""{"{{list}}": [{{question}}, {{yes}}, {{question}}, {{no}}]}"""));
        }
    }

    [Fact]
    public void Read_learns_the_completion_and_no_answer_in_the_prompt() =>
        Assert.Equal(
            ["yes</s>"],
            Learned(
                """{"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}, {"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "yes"}]}"""
            )
        );

    [Fact]
    public void Read_leaves_out_conversations_of_which_nothing_is_to_be_learned() =>
        Assert.Contains(
            "none of 1 conversations",
            Refused("""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 0}]}"""),
            StringComparison.Ordinal
        );

    [Theory]
    [InlineData("\"weight\": 0.5", "'weight' of a message is 0.5")]
    [InlineData("\"weight\": \"0\"", "'weight' of a message is \"0\"")]
    [InlineData("\"weight\": 0, \"train\": true", "'weight' and 'train' of a message disagree")]
    [InlineData("\"train_detail\": [{\"begin_offset\": 0}]", "the field 'train_detail'")]
    [InlineData("\"mask\": true", "the field 'mask'")]
    [InlineData("\"wieght\": 0", "Did you mean 'weight'?")]
    [InlineData("\"images\": [\"a.png\"]", "has 'images', but this model reads only text")]
    public void Read_refuses_fields_that_could_decide_what_is_learned(string field, string reason)
    {
        Assert.Contains(
            reason,
            Refused($$"""{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", {{field}}}]}"""),
            StringComparison.Ordinal
        );
        Assert.Contains(
            reason,
            Refused($$"""{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", {{field}}}]}"""),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(
        """{"messages": [{"role": "user", "content": "q", "train": true}, {"role": "assistant", "content": "a"}]}""",
        "the role user"
    )]
    [InlineData(
        """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "text", "text": "a", "train": false}]}]}""",
        "the field 'train'"
    )]
    [InlineData("""{"instruction": "q", "output": "a", "weight": 0}""", "'weight' of a record is 0")]
    [InlineData("""{"instruction": "q", "output": "a", "train_on_input": true}""", "'train_on_input' of a record is true")]
    [InlineData("""{"prompt": "q", "completion": "a", "label": false}""", "'label' of a record is false")]
    [InlineData("""{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "kto_tag": true}""", "'kto_tag'")]
    [InlineData(
        """{"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}""",
        "preferences"
    )]
    public void Read_refuses_records_that_ask_for_other_ways_to_learn(string json, string reason) =>
        Assert.Contains(reason, Refused(json), StringComparison.Ordinal);

    [Theory]
    [InlineData(
        "\"id\": 7, \"timestamp\": \"2024\", \"name\": \"x\", \"lang\": \"en\", \"refusal\": null, \"audio\": null, \"annotations\": []"
    )]
    [InlineData("\"weight\": 1, \"images\": [], \"mask\": null, \"tool_calls\": null")]
    public void Read_takes_fields_that_say_nothing_about_learning(string fields) =>
        Assert.Equal(
            ["a</s>"],
            Learned(
                $$"""{"source": "web", "label": 3, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", {{fields}}}]}"""
            )
        );

    [Fact]
    public void Read_takes_unknown_fields_that_the_template_uses_or_the_user_lists()
    {
        const string json = """{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "mood": "good"}]}""";
        Assert.Contains("'mood'", Refused(json), StringComparison.Ordinal);
        Assert.Equal(["a</s>"], Learned(json, "llama2", "mood"));
        Assert.Equal(
            ["gooda</s>"],
            Learned(
                json,
                _folder.Text("mood.jinja", Marks.Replace("{% generation %}", "{% generation %}{{ m.mood }}", StringComparison.Ordinal))
            )
        );
    }

    [Fact]
    public void Read_takes_openai_functions_of_the_first_form_as_tools_and_calls()
    {
        var format = new ConversationFormat();
        var path = _folder.Text(
            "f.jsonl",
            """{"functions": [{"name": "f"}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\": 1}"}}]}"""
        );
        var read = new ConversationFiles([path], format).Read().Single();
        Assert.Equal("""[{"type": "function", "function": {"name": "f"}}]""", read.Tools!.Value.GetRawText());
        Assert.Equal(
            """[{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]""",
            read.Messages[1].Further![ToolCalls.Member].GetRawText()
        );
    }
}
