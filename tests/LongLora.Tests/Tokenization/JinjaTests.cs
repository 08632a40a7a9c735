using System.Text.Json;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tests.Tokenization;

/// <summary>Against Jinja2 3.1.6 in Python, set up as transformers sets it up for chat templates (Goldens/chat).</summary>
public class JinjaTests
{
    private static readonly Lazy<JsonElement> s_golden = new(() =>
        JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("chat", "chat_templates.json"))).RootElement
    );

    public static TheoryData<string, string> Snippets() =>
        [
            .. s_golden
                .Value.GetProperty("snippets")
                .EnumerateArray()
                .Select(s => (s.GetProperty("source").GetString()!, s.GetProperty("text").GetString()!)),
        ];

    public static TheoryData<string> Templates() =>
        [.. s_golden.Value.GetProperty("cases").EnumerateArray().Select(c => c.GetProperty("template").GetString()!).Distinct()];

    private static object? Value(JsonElement json) =>
        json.ValueKind switch
        {
            JsonValueKind.String => MarkedText.Of(json.GetString()!),
            JsonValueKind.Number => json.TryGetInt64(out var whole) ? (object)whole : json.GetDouble(),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Array => json.EnumerateArray().Select(Value).ToList(),
            JsonValueKind.Object => json.EnumerateObject().ToDictionary(p => p.Name, p => Value(p.Value)),
            _ => null,
        };

    private static string Render(string source, params (string Name, object? Value)[] values) =>
        JinjaTemplate.Parse(source).Render(values.ToDictionary(v => v.Name, v => v.Value), out _).Text;

    [Theory]
    [MemberData(nameof(Snippets))]
    public void Render_snippet_equals_jinja2(string source, string expected) => Assert.Equal(expected, Render(source));

    [Theory]
    [MemberData(nameof(Templates))]
    public void Render_published_template_equals_jinja2_on_every_conversation(string name)
    {
        var source = name.StartsWith("shared:", StringComparison.Ordinal)
            ? JsonDocument
                .Parse(File.ReadAllText(SharedMaterial.Shared("tokenizers", name[7..], "tokenizer_config.json")))
                .RootElement.GetProperty("chat_template")
                .GetString()!
            : s_golden.Value.GetProperty("templates").GetProperty(name).GetString()!;
        var cases = s_golden.Value.GetProperty("cases").EnumerateArray().Where(c => c.GetProperty("template").GetString() == name).ToList();
        Assert.Equal(14, cases.Count);
        foreach (var golden in cases)
        {
            var conversation = golden.GetProperty("conversation").GetString()!;
            string Run() =>
                Render(
                    source,
                    ("messages", Value(s_golden.Value.GetProperty("conversations").GetProperty(conversation))),
                    ("bos_token", MarkedText.Of("<s>")),
                    ("eos_token", MarkedText.Of("</s>")),
                    ("add_generation_prompt", golden.GetProperty("generation_prompt").GetBoolean()),
                    ("tools", null),
                    ("documents", null)
                );
            if (golden.TryGetProperty("text", out var text))
                Assert.Equal(text.GetString(), Run());
            else
                Assert.Throws<JinjaException>(Run);
        }
    }

    [Theory]
    [InlineData("a\n{% include 'x' %}", "line 2: the statement 'include'")]
    [InlineData("{{ x | frobnicate }}", "the filter 'frobnicate'")]
    [InlineData("{{ x is strange }}", "the test 'strange'")]
    [InlineData("{% for x in y recursive %}{% endfor %}", "'recursive'")]
    [InlineData("{% if x %}", "expected '{%'")]
    [InlineData("{% endfor %}", "not started")]
    [InlineData("{{ 'x }}", "the string is not closed")]
    [InlineData("{{ x ", "not closed with }}")]
    [InlineData("{{ x ; y }}", "';'")]
    [InlineData("{% raw %}{% endraw %}", "'raw'")]
    [InlineData("{# x", "the comment is not closed")]
    public void Parse_what_is_not_known_is_refused_by_name_and_line(string source, string expected) =>
        Assert.Contains(expected, Assert.Throws<JinjaException>(() => JinjaTemplate.Parse(source)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("{{ nobody.x }}", "'nobody'")]
    [InlineData("{{ 'a' + 1 }}", "a string + a number")]
    [InlineData("{{ 'a'.frobnicate() }}", "'frobnicate'")]
    [InlineData("{{ range(1000000) }}", "100000")]
    [InlineData("{{ raise_exception('no!') }}", "no!")]
    [InlineData("{{ 'a'.replace('b') }}", "too few")]
    [InlineData("{{ [1]|tojson(default=2) }}", "no option 'default'")]
    public void Render_what_cannot_be_is_an_error(string source, string expected) =>
        Assert.Contains(expected, Assert.Throws<JinjaException>(() => Render(source)).Message, StringComparison.Ordinal);

    [Fact]
    public void Render_every_character_knows_where_it_came_from()
    {
        var message = new Dictionary<string, object?> { ["content"] = MarkedText.Of("  aXbXc  ", 3) };
        var text = JinjaTemplate
            .Parse("<{{ (m.content|trim).split('X')[1:]|join('-') + m.content.upper()[2:4] }}>{{ m|tojson }}")
            .Render(new Dictionary<string, object?> { ["m"] = message }, out _);
        Assert.Equal("<b-cAX>{\"content\": \"  aXbXc  \"}", text.Text);
        Assert.Equal("0303330" + new string('3', 24), string.Concat(Enumerable.Range(0, text.Length).Select(i => text.GetOwner(i))));
    }

    // The texts are those of Python 3.11: json.dumps(json.loads(text), ...) and repr.
    [Theory]
    [InlineData(
        "{{ x|tojson }}",
        """{"tür": "ü中😀/", "n": [1, 1.0, 100.0, 1e+16, 1000000000000000.0, 0.0001, 1e-05, 1.5e-07, -0.0, 123456789012345678901234567890, 1234567890123456.5, 3.14, 1e+22, 2.5e+20, -1.2345678901234568e+16], "a": {"x": 2}, "e": {}, "l": [], "b": "a\b\f\u0000\t"}"""
    )]
    [InlineData(
        "{{ x|tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}",
        """{"a":{"x":2},"b":"a\b\f\u0000\t","e":{},"l":[],"n":[1,1.0,100.0,1e+16,1000000000000000.0,0.0001,1e-05,1.5e-07,-0.0,123456789012345678901234567890,1234567890123456.5,3.14,1e+22,2.5e+20,-1.2345678901234568e+16],"t\u00fcr":"\u00fc\u4e2d\ud83d\ude00/"}"""
    )]
    [InlineData("{{ x.a|tojson(indent=2) }}", "{\n  \"x\": 2\n}")]
    [InlineData("{{ [x.e, x.n[3], x.b] }}", @"[{}, 1e+16, 'a\x08\x0c\x00\t']")]
    public void Render_json_is_as_python_writes_it(string source, string expected)
    {
        const string json =
            """{"t\u00fcr":"\u00fc\u4e2d\ud83d\ude00\/", "n": [1, 1.0, 1e2, 1E16, 1e15, 0.0001, 0.00001, 1.5e-7, -0.0, 123456789012345678901234567890, 1234567890123456.5, 3.14, 1e22, 2.5e20, -12345678901234568.0], "a": {"x": 1, "x": 2}, "e": {}, "l": [], "b": "a\u0008\u000c\u0000\t"}""";
        Assert.Equal(expected, Render(source, ("x", JinjaJson.Read(JsonDocument.Parse(json).RootElement))));
    }

    [Fact]
    public void Render_generation_blocks_are_told()
    {
        JinjaTemplate
            .Parse("ab{% for x in [1, 2] %}{% generation %}{{ x }}{{ x }}{% endgeneration %}-{% endfor %}")
            .Render(new Dictionary<string, object?>(), out var generated);
        Assert.Equal([(2, 4), (5, 7)], generated);
    }
}
