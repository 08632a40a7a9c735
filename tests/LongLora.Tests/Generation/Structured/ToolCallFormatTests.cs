using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Generation.Structured;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Generation.Structured;

/// <summary>Calls of tools in the forms of well-known models, of which the templates here are short versions.</summary>
public sealed class ToolCallFormatTests
{
    private const string Qwen = """
        {%- if tools %}{{ '<|im_start|>system\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}
        {%- for m in messages %}
        {%- if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content }}
        {%- for c in m.tool_calls or [] %}{% if not loop.first %}{{ '\n' }}{% endif %}{{ '<tool_call>\n{"name": "' + c.function.name + '", "arguments": ' + (c.function.arguments | tojson) + '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}
        {%- else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}
        {%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """;

    private const string Mistral = """
        {{- bos_token }}{% if tools %}{{ '[AVAILABLE_TOOLS] ' + (tools | tojson) }}{% endif %}
        {%- for m in messages %}
        {%- if m.tool_calls %}{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}
        {%- if c.id is not defined or c.id | length != 9 %}{{ raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}
        {{- (c.function | tojson)[:-1] + ', "id": "' + c.id + '"}' }}{% if not loop.last %}{{ ', ' }}{% endif %}{% endfor %}{{ ']' + eos_token }}
        {%- elif m.role == 'tool' %}{{ '[TOOL_RESULTS] {"content": ' + m.content + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
        {%- elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}
        {%- else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}
        {%- endfor %}
        """;

    private const string MistralNames = """
        {{- bos_token }}{{ tools | tojson }}
        {%- for m in messages %}
        {%- if m.tool_calls %}{% for c in m.tool_calls %}{{ '[TOOL_CALLS]' + c.function.name + '[CALL_ID]' + c.id + '[ARGS]' + (c.function.arguments | tojson) }}{% endfor %}{{ eos_token }}
        {%- else %}{{ '[INST]' + m.content + '[/INST]' }}{% endif %}
        {%- endfor %}
        """;

    private const string Llama = """
        {{- bos_token }}{{ tools | tojson }}
        {%- for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}
        {%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}{% endif %}
        {{- '{"name": "' + m.tool_calls[0].function.name + '", "parameters": ' }}{{ m.tool_calls[0].function.arguments | tojson }}{{ '}' }}
        {%- else %}{{ m.content }}{% endif %}{{ '<|eot_id|>' }}
        {%- endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
        """;

    private const string DeepSeek = """
        {{- bos_token }}{{ tools | tojson }}
        {%- for m in messages %}
        {%- if m.tool_calls %}{{ '<|Assistant|><|calls_begin|>' }}{% for c in m.tool_calls %}{{ '<|call_begin|>function<|sep|>' + c.function.name + '\n```json\n' + (c.function.arguments | tojson) + '\n```<|call_end|>' }}{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}{{ '<|calls_end|>' + eos_token }}
        {%- else %}{{ '<|User|>' + m.content }}{% endif %}
        {%- endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}
        """;

    private const string SmolLm3 = """
        {%- if xml_tools %}{{ 'Call with <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call>. Tools: ' }}{% for t in xml_tools %}{{ t | string }}{% endfor %}{% endif %}
        {%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """;

    private const string Bare =
        "{{ bos_token }}{% for m in messages %}{{ m.content }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}";

    private const string GptOss = """
        {{- tools | tojson }}{% for m in messages %}
        {%- if m.tool_calls %}{{ '<|start|>assistant to=functions.' + m.tool_calls[0].function.name + '<|channel|>commentary json<|message|>' + (m.tool_calls[0].function.arguments | tojson) + '<|call|>' }}
        {%- else %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}{% endif %}
        {%- endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}
        """;

    private const string Xml = """
        {{- tools | tojson }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}
        {%- for c in m.tool_calls or [] %}{{ '<function=' + c.function.name + '>' }}{% for k, v in c.function.arguments | items %}{{ '<p=' + k + '>' + (v | string) }}{% endfor %}{% endfor %}{{ '<|im_end|>\n' }}
        {%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """;

    private static readonly ITokenizer s_tokenizer = Make();

    private static readonly Dictionary<string, string> s_templates = new()
    {
        ["qwen"] = Qwen,
        ["mistral"] = Mistral,
        ["mistral-names"] = MistralNames,
        ["llama"] = Llama,
        ["deepseek"] = DeepSeek,
        ["smollm3"] = SmolLm3,
        ["bare"] = Bare,
        ["gpt-oss"] = GptOss,
        ["xml"] = Xml,
    };

    // Bytes, and tokens of which one half are control tokens.
    private static ITokenizer Make()
    {
        using var folder = new TemporaryFolder();
        ByteLevelTokenizerWriter.Write(folder.Root, []);
        var file = Path.Combine(folder.Root, "tokenizer.json");
        var json = JsonNode.Parse(File.ReadAllText(file))!;
        string[] marks =
        [
            "[TOOL_CALLS]",
            "[CALL_ID]",
            "[ARGS]",
            "<|im_end|>",
            "<|eot_id|>",
            "<|call|>",
            "<|end|>",
            "<|calls_begin|>",
            "<|channel|>",
            "<tool_call>",
            "</tool_call>",
        ];
        foreach (var (i, mark) in marks.Index())
        {
            json["added_tokens"]!
                .AsArray()
                .Add(
                    new JsonObject
                    {
                        ["id"] = 258 + i,
                        ["content"] = mark,
                        ["special"] = !mark.Contains("tool_call", StringComparison.Ordinal),
                        ["single_word"] = false,
                        ["lstrip"] = false,
                        ["rstrip"] = false,
                        ["normalized"] = false,
                    }
                );
        }
        File.WriteAllText(file, json.ToJsonString());
        return TokenizerLoader.Load(folder.Root);
    }

    private static ToolUse Tools(bool isRequired = false, string? only = null, bool isParallel = true)
    {
        using var tools = JsonDocument.Parse(
            """
            [{"type":"function","function":{"name":"get_weather","description":"Weather","parameters":{"type":"object","properties":{"city":{"type":"string","maxLength":8},"days":{"type":"integer","minimum":1,"maximum":14}},"required":["city"],"additionalProperties":false}}},
             {"type":"function","function":{"name":"now"}}]
            """
        );
        return new ToolUse(ToolDefinition.ReadAll(tools.RootElement.Clone()), isRequired, isParallel) { Only = only };
    }

    private static StructuredChat Chat(string template) => new(ChatTemplate.Parse(s_templates[template], template), s_tokenizer);

    [Theory]
    [InlineData(
        "qwen",
        "<tool_call>\n{\"name\": \"",
        "\", \"arguments\": ",
        "}\n</tool_call>\n<tool_call>\n{\"name\": \"",
        "}\n</tool_call>"
    )]
    [InlineData("mistral", "[TOOL_CALLS] [{\"name\": \"", "\", \"arguments\": ", ", \"id\": \"\0\"}, {\"name\": \"", ", \"id\": \"\0\"}]")]
    [InlineData("mistral-names", "[TOOL_CALLS]", "[CALL_ID]\0[ARGS]", "[TOOL_CALLS]", "")]
    [InlineData("llama", "{\"name\": \"", "\", \"parameters\": ", null, "}")]
    [InlineData(
        "deepseek",
        "<|calls_begin|><|call_begin|>function<|sep|>",
        "\n```json\n",
        "\n```<|call_end|>\n<|call_begin|>function<|sep|>",
        "\n```<|call_end|><|calls_end|>"
    )]
    [InlineData(
        "smollm3",
        "<tool_call>\n{\"name\": \"",
        "\", \"arguments\": ",
        "}\n</tool_call>\n<tool_call>\n{\"name\": \"",
        "}\n</tool_call>"
    )]
    [InlineData("bare", "{\"name\": \"", "\", \"arguments\": ", "}\n{\"name\": \"", "}")]
    public void The_form_is_what_the_template_writes(string template, string before, string inside, string? between, string after)
    {
        var format = ToolCallFormat.Find(ChatTemplate.Parse(s_templates[template], template), s_tokenizer)!;
        Assert.Equal((before, inside, between, after), (format.Before, format.Inside, format.Between, format.After));
    }

    [Theory]
    [InlineData("qwen")]
    [InlineData("mistral")]
    [InlineData("mistral-names")]
    [InlineData("llama")]
    [InlineData("deepseek")]
    [InlineData("smollm3")]
    [InlineData("bare")]
    [InlineData("gpt-oss")]
    [InlineData("xml")]
    public void Any_answer_of_the_format_is_read_back_and_goes_into_the_template_again(string template)
    {
        var chat = Chat(template);
        for (var seed = 0; seed < 20; seed++)
        {
            var prepared = chat.Prepare([new("user", "x")], ConversationForm.Standard, Tools(isRequired: true), null);
            var text = Draw(prepared, new Random(seed));
            var answer = prepared.NewAnswer()!;
            foreach (var piece in text)
                Assert.Equal("", answer.Append($"{piece}"));
            var (further, calls) = answer.Finish();
            Assert.Equal("", further.Trim());
            Assert.NotEmpty(calls);
            foreach (var call in calls)
            {
                using var arguments = JsonDocument.Parse(call.Arguments);
                if (call.Name == "now")
                    Assert.Empty(arguments.RootElement.EnumerateObject());
                else
                    Assert.Equal(("get_weather", JsonValueKind.String), (call.Name, arguments.RootElement.GetProperty("city").ValueKind));
            }
            if (template == "llama" || template == "gpt-oss" || template == "xml")
                Assert.True(calls.Count == 1 || template == "xml");
            // The client sends the arguments as text, and any identifier.
            var sent = JsonSerializer.SerializeToElement(
                calls
                    .Take(1)
                    .Select(c => new
                    {
                        id = "call_" + c.Id,
                        type = "function",
                        function = new { name = c.Name, arguments = c.Arguments },
                    })
            );
            ChatMessage[] again =
            [
                new("user", "x"),
                new(ChatMessage.Assistant, "") { Further = new Dictionary<string, JsonElement> { ["tool_calls"] = sent } },
                new("tool", "42")
                {
                    Further = new Dictionary<string, JsonElement>
                    {
                        ["tool_call_id"] = JsonSerializer.SerializeToElement("call_" + calls[0].Id),
                    },
                },
            ];
            var rendered = s_tokenizer.Decode(
                [.. chat.Prepare(again, ConversationForm.Standard, Tools(isRequired: true), null).Tokens],
                skipSpecial: false
            );
            Assert.Contains(calls[0].Name, rendered[rendered.IndexOf('x')..], StringComparison.Ordinal);
            Assert.Contains("42", rendered, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("qwen", "Let me see.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "Let me see.\n", "now")]
    [InlineData("qwen", "No tool <tool is needed <tool_", "No tool <tool is needed <tool_", null)]
    [InlineData("mistral", "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}, \"id\": \"abcDEF123\"}]", "", "now")]
    [InlineData("mistral", " Hello [TOOL", " Hello [TOOL", null)]
    [InlineData("llama", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Köln\"}}", "", "get_weather")]
    [InlineData("llama", "{\"nam", "{\"nam", null)]
    [InlineData("llama", "It is {\"name\": \"now\"", "It is {\"name\": \"now\"", null)]
    [InlineData("bare", "{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"now\", \"arguments\": {}}", "", "now")]
    public void Where_the_model_decides_its_answer_is_text_or_calls(string template, string answer, string text, string? called)
    {
        var prepared = Chat(template).Prepare([new("user", "x")], ConversationForm.Standard, Tools(), null);
        Assert.True(Accepts(prepared, answer), "the format");
        var reader = prepared.NewAnswer()!;
        var given = string.Concat(answer.Select(c => reader.Append($"{c}")));
        var (further, calls) = reader.Finish();
        Assert.Equal(text, given + further);
        Assert.Equal(called, calls.Count > 0 ? calls[0].Name : null);
        Assert.Equal(calls.Select(c => (c.Name, c.Arguments)), reader.Read(answer).Calls.Select(c => (c.Name, c.Arguments)));
    }

    // Every beginning of an answer: its calls are those of the whole, the last perhaps with a part of its arguments. None of it is text.
    [Theory]
    [InlineData("qwen")]
    [InlineData("mistral")]
    [InlineData("mistral-names")]
    [InlineData("llama")]
    [InlineData("deepseek")]
    [InlineData("smollm3")]
    [InlineData("bare")]
    [InlineData("gpt-oss")]
    [InlineData("xml")]
    public void An_answer_that_is_cut_off_has_no_part_of_a_call_in_its_text(string template)
    {
        for (var seed = 0; seed < 6; seed++)
        {
            var prepared = Chat(template).Prepare([new("user", "x")], ConversationForm.Standard, Tools(isRequired: true), null);
            var text = Draw(prepared, new Random(seed));
            var (_, whole) = prepared.NewAnswer()!.Read(text);
            Assert.All(whole, c => Assert.False(c.IsCut));
            // One of a free answer, which begins as this one does.
            var free = new ToolAnswer(prepared.Calls!, isRequired: false);
            for (var length = 0; length <= text.Length; length++)
            {
                var reader = prepared.NewAnswer()!;
                Assert.Equal("", reader.Append(text[..length]));
                var (further, calls) = reader.Finish();
                Assert.Equal("", further.Trim());
                Assert.Equal(whole.Take(calls.Count).Select(c => c.Name), calls.Select(c => c.Name));
                Assert.All(calls.SkipLast(1), c => Assert.False(c.IsCut));
                Assert.All(calls.Zip(whole), p => Assert.StartsWith(p.First.Arguments, p.Second.Arguments, StringComparison.Ordinal));
                Assert.All(calls.Zip(whole), p => Assert.Equal(p.First.IsCut, p.First.Arguments != p.Second.Arguments));
                if (length - (text.Length - text.TrimStart().Length) >= prepared.Calls!.Before.Length)
                    Assert.Equal(
                        calls.Select(c => (c.Name, c.Arguments)),
                        free.Read(text[..length]).Calls.Select(c => (c.Name, c.Arguments))
                    );
            }
        }
    }

    // JSON that a schema asks for may begin as a call without a mark does.
    [Theory]
    [InlineData("{\"name\": \"Bob\", \"age\": 3}")]
    [InlineData("{\"name\": \"Bob\", \"a")]
    [InlineData("{\"name\": \"Bob\"}")]
    public void Json_that_is_no_call_stays_text_where_calls_have_no_mark(string answer)
    {
        var reader = new ToolAnswer(ToolCallFormat.Plain, isRequired: false);
        var given = reader.Append(answer);
        var expected = answer.EndsWith("\"a", StringComparison.Ordinal) ? "" : answer;
        Assert.Equal(expected, given + reader.Finish().Further);
    }

    [Fact]
    public void A_call_that_has_begun_can_be_nothing_but_a_call_of_a_tool()
    {
        var prepared = Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, Tools(), null);
        Assert.True(Begins(prepared, "Ah <tool_call>\n{\"name\": \"now"));
        Assert.False(Begins(prepared, "Ah <tool_call>\n{\"name\": \"never"));
        Assert.False(Begins(prepared, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"town"));
        Assert.False(Begins(prepared, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call> and"));
        var single = Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, Tools(isParallel: false), null);
        Assert.False(Begins(single, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n"));
        Assert.True(Begins(prepared, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n"));
        var named = Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, Tools(isRequired: true, only: "now"), null);
        Assert.False(Begins(named, "<tool_call>\n{\"name\": \"get"));
        Assert.False(Begins(named, "Ah"));
    }

    [Fact]
    public void An_answer_that_calls_nothing_follows_the_schema()
    {
        using var schema = JsonDocument.Parse("""{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}""");
        var prepared = Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, Tools(), schema.RootElement);
        Assert.True(Accepts(prepared, "{\"a\": 3}"));
        Assert.True(Accepts(prepared, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
        Assert.False(Begins(prepared, "It"));
    }

    [Theory]
    [InlineData("xml")]
    [InlineData("gpt-oss")]
    public void A_form_that_is_not_known_is_refused_where_the_model_decides(string template)
    {
        var error = Assert.Throws<ConfigurationException>(() =>
            Chat(template).Prepare([new("user", "x")], ConversationForm.Standard, Tools(), null)
        );
        Assert.Contains(template, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_without_tools_gets_them_in_the_system_message()
    {
        var prepared = Chat("bare").Prepare([new("system", "Be brief."), new("user", "x")], ConversationForm.Standard, Tools(), null);
        var text = s_tokenizer.Decode([.. prepared.Tokens]);
        Assert.StartsWith("Be brief.\n\nYou may call functions.", text, StringComparison.Ordinal);
        Assert.Contains("get_weather", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tool_that_does_not_exist_or_is_no_function_is_refused()
    {
        Assert.Contains(
            "'never'",
            Refusal(() => Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, Tools(only: "never"), null)),
            StringComparison.Ordinal
        );
        Assert.Contains("tools[0]", Refusal(() => Read("""[{"type":"web_search"}]""")), StringComparison.Ordinal);
        Assert.Contains("a b", Refusal(() => Read("""[{"type":"function","function":{"name":"a b"}}]""")), StringComparison.Ordinal);
        var not = """[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"not":{}}}}}}]""";
        var message = Refusal(() => Chat("qwen").Prepare([new("user", "x")], ConversationForm.Standard, new ToolUse(Read(not)), null));
        Assert.Contains("'f'", message, StringComparison.Ordinal);
        Assert.Contains("'not'", message, StringComparison.Ordinal);

        static IReadOnlyList<ToolDefinition> Read(string json) => ToolDefinition.ReadAll(JsonDocument.Parse(json).RootElement);
        static string Refusal(Action action) => Assert.Throws<ConfigurationException>(action).Message;
    }

    // The text of tokens drawn from those that the format allows, as the decoder of such an answer shows it.
    private static string Draw(PreparedChat prepared, Random random)
    {
        var constraint = new AnswerConstraint(prepared.Format!, TokenTrie.Of(s_tokenizer), [s_tokenizer.EosTokenId!.Value]);
        var ids = new List<int>();
        while (!constraint.IsComplete)
        {
            var logits = new float[s_tokenizer.VocabularySize + 3]; // some models have more rows than tokens
            constraint.Apply(logits);
            int[] allowed = [.. Enumerable.Range(0, logits.Length).Where(i => !float.IsNegativeInfinity(logits[i]))];
            int[] closing = [.. allowed.Where(i => s_tokenizer.Decode([i]) is "\"" or "}")];
            var chosen = closing.Length > 0 && random.Next(2) == 0 ? closing : allowed;
            var id = chosen[random.Next(chosen.Length)];
            if (id == s_tokenizer.EosTokenId && constraint.MayEnd)
                break;
            constraint.Accept(id);
            ids.Add(id);
            Assert.True(ids.Count < 5_000);
        }
        return s_tokenizer.Decode([.. ids], skipSpecial: !prepared.Format!.HasControlTokens);
    }

    private static bool Accepts(PreparedChat prepared, string answer) => Read(prepared, answer) is { } constraint && constraint.MayEnd;

    private static bool Begins(PreparedChat prepared, string answer) => Read(prepared, answer) is not null;

    private static AnswerConstraint? Read(PreparedChat prepared, string answer)
    {
        var constraint = new AnswerConstraint(prepared.Format!, TokenTrie.Of(s_tokenizer), [s_tokenizer.EosTokenId!.Value]);
        foreach (var id in s_tokenizer.Encode(answer, parseSpecial: true))
        {
            var logits = new float[s_tokenizer.VocabularySize];
            if (constraint.IsComplete)
                return null;
            constraint.Apply(logits);
            if (float.IsNegativeInfinity(logits[id]))
                return null;
            constraint.Accept(id);
        }
        return constraint;
    }
}
