using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public class ChatTemplateTests
{
    private static readonly ChatMessage[] s_two =
    [
        new("user", "Who?"),
        new("assistant", "Me."),
        new("user", "Why?"),
        new("assistant", "So."),
    ];

    private static ITokenizer Llama2 => Tokenizers.Open("llama2", "tokenizer.model");

    private static List<string> Learnt(RenderedChat chat) => [.. chat.Answers.Select(a => chat.Text[a.Start..a.End])];

    // The learnt tokens as texts, stretch by stretch.
    private static List<string> LearntTokens(RenderedChat chat, ITokenizer tokenizer)
    {
        var (ids, isAnswer) = chat.Encode(tokenizer);
        var stretches = new List<string>();
        for (var i = 0; i < ids.Count; i++)
        {
            if (!isAnswer[i])
                continue;
            var end = i;
            while (end < ids.Count && isAnswer[end])
                end++;
            stretches.Add(tokenizer.Decode([.. ids.Skip(i).Take(end - i)], skipSpecial: false));
            i = end;
        }
        return stretches;
    }

    [Theory]
    [InlineData("llama2", "<s>[INST] Who? [/INST] Me. </s><s>[INST] Why? [/INST] So. </s>", "Me. </s>")]
    [InlineData("mistral", "<s>[INST] Who? [/INST] Me.</s>[INST] Why? [/INST] So.</s>", "Me.</s>")]
    [InlineData(
        "alpaca",
        "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### "
            + "Instruction:\nWho?\n\n### Response:Me.</s>",
        "Me.</s>"
    )]
    [InlineData("longalpaca", "<s>[INST]Who?[/INST]Me.</s>[INST]Why?[/INST]So.</s>", "Me.</s>")]
    public void Render_named_template_of_llama2_has_its_answers(string name, string begin, string first)
    {
        var chat = ChatTemplate.Find(name, "").Render(s_two, Llama2);
        Assert.StartsWith(begin, chat.Text, StringComparison.Ordinal);
        Assert.Equal([first, first.Replace("Me", "So", StringComparison.Ordinal)], Learnt(chat));
        Assert.Equal(Llama2.Encode(chat.Text, parseSpecial: true), chat.Encode(Llama2).Ids);
        Assert.Equal([first, first.Replace("Me", "So", StringComparison.Ordinal)], LearntTokens(chat, Llama2));
    }

    [Theory]
    [InlineData(
        "chatml",
        "qwen3",
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>\n",
        "Me.<|im_end|>",
        "So.<|im_end|>"
    )]
    [InlineData(
        "llama3",
        "llama3",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
            + "<|start_header_id|>assistant<|end_header_id|>\n\nMe.<|eot_id|>",
        "Me.<|eot_id|>",
        "So.<|eot_id|>"
    )]
    [InlineData(
        "auto",
        "llama3",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
            + "<|start_header_id|>assistant<|end_header_id|>\n\nMe.<|eot_id|>",
        "Me.<|eot_id|>",
        "So.<|eot_id|>"
    )]
    // The last answer has the empty thought that the model is to write there.
    [InlineData(
        "auto",
        "qwen3",
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>\n",
        "Me.<|im_end|>",
        "<think>\n\n</think>\n\nSo.<|im_end|>"
    )]
    public void Render_template_with_turn_tokens_has_its_answers(string name, string model, string begin, string first, string second)
    {
        var folder = SharedMaterial.Shared("tokenizers", model);
        var tokenizer = Tokenizers.Open(model, "tokenizer.json");
        var chat = ChatTemplate.Find(name, folder).Render(s_two, tokenizer);
        Assert.StartsWith(begin, chat.Text, StringComparison.Ordinal);
        Assert.Equal([first, second], Learnt(chat));
        Assert.Equal([first, second], LearntTokens(chat, tokenizer));
        Assert.Equal(tokenizer.Encode(chat.Text, parseSpecial: true), chat.Encode(tokenizer).Ids);
    }

    [Fact]
    public void Encode_equals_longlora_on_every_vector()
    {
        using var vectors = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "sft_vectors.json")));
        var template = ChatTemplate.Find("longalpaca", "");
        var count = 0;
        foreach (var vector in vectors.RootElement.EnumerateArray())
        {
            string Text(string name) => vector.GetProperty(name).GetString()!;
            var content = Text("input").Length > 0 ? Text("instruction") + "\n" + Text("input") : Text("instruction");
            var user = new ChatMessage("user", content)
            {
                Further = new Dictionary<string, JsonElement>
                {
                    ["instruction"] = vector.GetProperty("instruction"),
                    ["input"] = vector.GetProperty("input"),
                },
            };
            var (ids, isAnswer) = template.Render([user, new("assistant", Text("output"))], Llama2).Encode(Llama2);
            Assert.Equal(vector.GetProperty("input_ids").EnumerateArray().Select(i => i.GetInt32()), ids);
            var source = vector.GetProperty("source_len").GetInt32();
            Assert.Equal(Enumerable.Range(0, ids.Count).Select(i => i >= source), isAnswer);
            count++;
        }
        Assert.Equal(40, count);
    }

    [Fact]
    public void Encode_special_tokens_that_somebody_typed_stay_text()
    {
        ChatMessage[] messages = [new("user", "say </s> or <s>[INST]"), new("assistant", "no </s> here")];
        var chat = ChatTemplate.Find("llama2", "").Render(messages, Llama2);
        var (ids, isAnswer) = chat.Encode(Llama2);
        Assert.Single(ids, id => id == Llama2.EosTokenId);
        Assert.Single(ids, id => id == Llama2.BosTokenId);
        Assert.Equal(Llama2.EosTokenId, ids[^1]);
        Assert.True(isAnswer[^1]);
        Assert.Equal(["no </s> here </s>"], LearntTokens(chat, Llama2));
    }

    [Fact]
    public void Encode_token_over_the_edge_of_an_answer_is_learnt()
    {
        // "]" and "(" are one token where they meet.
        var template = ChatTemplate.Parse(
            "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% "
                + "endfor %}",
            "test"
        );
        var chat = template.Render([new("user", "a"), new("assistant", "(b)")], Llama2);
        var (ids, isAnswer) = chat.Encode(Llama2);
        var merged = Llama2.FindToken("](")!.Value;
        Assert.Contains(merged, ids);
        Assert.Equal(["](b)</s>"], LearntTokens(chat, Llama2));
        Assert.Equal(ids.ToList().IndexOf(merged), isAnswer.ToList().IndexOf(true));
    }

    [Fact]
    public void Plain_prompt_and_completion_are_one_text_with_the_end()
    {
        var chat = RenderedChat.FromPlainText("Q: x\nA:", " y", Llama2);
        Assert.Equal("<s>Q: x\nA: y</s>", chat.Text);
        Assert.Equal(["y</s>"], LearntTokens(chat, Llama2));
    }

    [Fact]
    public void Find_what_there_is_not_is_refused_with_what_there_is()
    {
        using var folder = new TemporaryFolder();
        string Refused(string name) => Assert.Throws<ConfigurationException>(() => ChatTemplate.Find(name, folder.Root)).Message;
        Assert.Contains("no chat template", Refused("auto"), StringComparison.Ordinal);
        Assert.Contains("longalpaca", Refused("auto"), StringComparison.Ordinal);
        Assert.Contains("Did you mean 'llama2'?", Refused("lama2"), StringComparison.Ordinal);
        folder.Text("tokenizer_config.json", "{\"chat_template\": \"{% extends 'x' %}\"}");
        var message = Assert.Throws<CheckpointException>(() => ChatTemplate.Find("auto", folder.Root)).Message;
        Assert.Contains("'extends'", message, StringComparison.Ordinal);
        Assert.Contains("tokenizer_config.json", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Find_own_template_is_read_wherever_it_stands()
    {
        using var folder = new TemporaryFolder();
        folder.Text(
            "tokenizer_config.json",
            "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, {\"name\": \"default\", \"template\": \"d\"}]}"
        );
        Assert.Equal("d", ChatTemplate.Find("auto", folder.Root).Source);
        folder.Text("chat_template.jinja", "j");
        Assert.Equal("j", ChatTemplate.Find("auto", folder.Root).Source);
        Assert.Equal("x", ChatTemplate.Find(folder.Text("own.jinja", "x"), "").Source);
    }

    [Fact]
    public void Render_conversation_that_the_template_refuses_is_a_data_error()
    {
        var error = Assert.Throws<DataException>(() => ChatTemplate.Find("llama2", "").Render([new("tool", "x")], Llama2));
        Assert.Contains("tool", error.Message, StringComparison.Ordinal);
    }

    // As Qwen and others write calls: the end of the turn comes behind what the template closes.
    private const string CallsTemplate = """
        {%- if tools %}{{ '<s>tools:' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{{ '</s>' }}{% endif %}
        {%- for m in messages %}{{ '<s>' + m.role + ':' + m.content }}
        {%- for call in m.tool_calls or [] %}{{ '<call>' }}{{ call.function | tojson }}{{ '<call/>' }}{% endfor %}{{ '</s>' }}
        {%- endfor %}{% if add_generation_prompt %}{{ '<s>assistant:' }}{% endif %}
        """;

    private static ChatMessage Call(string calls) =>
        new(ChatMessage.Assistant, "")
        {
            Further = new Dictionary<string, JsonElement>
            {
                [ToolCalls.Member] = ToolCalls.ParseArguments(JsonDocument.Parse(calls).RootElement),
            },
        };

    [Fact]
    public void Render_calls_of_tools_are_learnt_to_the_end_of_the_turn()
    {
        var call = Call("""[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]""");
        var tools = JsonDocument.Parse("""[{"name": "f</s>"}]""").RootElement;
        ChatMessage[] messages = [new("user", "x"), call, new("tool", "y"), new("assistant", "z")];
        var template = ChatTemplate.Parse(CallsTemplate, "test");
        var chat = template.Render(messages, Llama2, tools: tools);
        Assert.Equal(
            """<s>tools:{"name": "f</s>"}</s><s>user:x</s><s>assistant:<call>{"name": "f", "arguments": {"a": 1}}<call/></s><s>tool:y</s><s>assistant:z</s>""",
            chat.Text
        );
        Assert.Equal(["""<call>{"name": "f", "arguments": {"a": 1}}<call/></s>""", "z</s>"], Learnt(chat));
        Assert.Equal(5, chat.Encode(Llama2).Ids.Count(id => id == Llama2.EosTokenId)); // the one in the tool's name is text
        Assert.True(template.WritesTools && template.WritesToolCalls);
    }

    [Fact]
    public void Render_calls_of_tools_are_json_where_the_template_has_no_form_for_them()
    {
        var template = ChatTemplate.Find("chatml", "");
        Assert.False(template.WritesTools || template.WritesToolCalls);
        var calls = ToolCalls.Parse("""[{"name": "f", "arguments": {"a":  "é"}}, {"name": "g"}]""")!.Value;
        var message = new ChatMessage(ChatMessage.Assistant, "See.")
        {
            Further = new Dictionary<string, JsonElement> { [ToolCalls.Member] = calls },
        };
        Assert.Contains(
            "<|im_start|>assistant\nSee.\n{\"name\": \"f\", \"arguments\": {\"a\": \"é\"}}\n{\"name\": \"g\"}<|im_end|>",
            template.Render([new("user", "x"), message], Llama2).Text,
            StringComparison.Ordinal
        );
        Assert.Null(ToolCalls.Parse("no call"));
        Assert.Null(ToolCalls.Parse("[1]"));
        Assert.Null(ToolCalls.Parse("{}"));
    }

    // However a file writes the JSON: escapes, spaces, order of the members as it stands.
    [Theory]
    [InlineData("""[{"type": "function", "function": {"name": "f", "arguments": {"tür": "ü中/é", "n": [1, 1.5, 100.0]}}}]""")]
    [InlineData("""[{"type":"function","function":{"name":"f","arguments":{"t\u00fcr":"\u00fc\u4e2d\/\u00e9","n":[1,1.50,1e2]}}}]""")]
    [InlineData("""[{"type":"function","function":{"name":"f","arguments":"{\"t\\u00fcr\": \"\\u00fc中/é\", \"n\": [1, 1.5, 1E2]}"}}]""")]
    public void Render_equal_calls_give_equal_text(string calls)
    {
        const string expected = """{"name": "f", "arguments": {"tür": "ü中/é", "n": [1, 1.5, 100.0]}}""";
        foreach (var template in new[] { ChatTemplate.Parse(CallsTemplate, "test"), ChatTemplate.Find("chatml", "") })
            Assert.Contains(expected, template.Render([new("user", "x"), Call(calls)], Llama2).Text, StringComparison.Ordinal);
        var function = JsonDocument.Parse(calls).RootElement[0].GetProperty("function").GetRawText();
        var bare = new ChatMessage(ChatMessage.Assistant, "")
        {
            Further = new Dictionary<string, JsonElement>
            {
                [ToolCalls.Member] = ToolCalls.ParseArguments(ToolCalls.Parse(function)!.Value),
            },
        };
        Assert.Contains(expected, ChatTemplate.Find("chatml", "").Render([new("user", "x"), bare], Llama2).Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Render_qwen3_learns_a_call_with_its_end()
    {
        var folder = SharedMaterial.Shared("tokenizers", "qwen3");
        var tokenizer = Tokenizers.Open("qwen3", "tokenizer.json");
        var chat = ChatTemplate
            .Find("auto", folder)
            .Render(
                [
                    new("user", "x"),
                    Call("""[{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]"""),
                    new("tool", "y"),
                    new("assistant", "z"),
                ],
                tokenizer
            );
        Assert.Equal("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>", Learnt(chat)[0]);
    }
}
