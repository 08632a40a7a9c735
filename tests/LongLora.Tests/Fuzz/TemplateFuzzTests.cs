using System.Diagnostics;
using System.Text;
using System.Text.Json;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Fuzz;

/// <summary>Chat templates and recipes, which come from anybody: made to be harmful by hand, and damaged at random.</summary>
public class TemplateFuzzTests
{
    private static readonly string[] s_values =
    [
        "messages",
        "messages[0]",
        "messages[0].content",
        "bos_token",
        "loop.index",
        "loop",
        "x",
        "ns",
        "ns.a",
        "none",
        "true",
        "1",
        "0",
        "-1",
        "2.5",
        "9223372036854775807",
        "99999999999999999999",
        "'a'",
        "''",
        "[]",
        "[1,2]",
        "{}",
        "{'a':1}",
        "range(3)",
        "range(300)",
        "range(0,10,0)",
        "range(9223372036854775800, 9223372036854775807, 5)",
        "namespace(a=1)",
        "dict(a=1)",
        "tools",
        "missing",
        "loop.cycle()",
        "strftime_now('%')",
        "raise_exception()",
        "m()",
        "m(m)",
    ];

    private static readonly string[] s_filters =
    [
        "|trim",
        "|upper",
        "|length",
        "|tojson",
        "|tojson(indent=4)",
        "|tojson(indent=-1)",
        "|string",
        "|int",
        "|float",
        "|abs",
        "|default('x')",
        "|first",
        "|last",
        "|list",
        "|reverse",
        "|unique",
        "|items",
        "|dictsort",
        "|join(',')",
        "|map('upper')",
        "|map(attribute='role')",
        "|map('map')",
        "|select",
        "|selectattr('role','eq','user')",
        "|selectattr",
        "|indent",
        "|indent(-1)",
        "|indent(999999999, true)",
        "|replace('a','b')",
        "|replace('','b')",
        ".split()",
        ".split('')",
        ".split('a', 99999999999)",
        ".strip(1)",
        ".items()",
        ".get()",
        ".find()",
        "[-1]",
        "[::-1]",
        "[::0]",
        "[1::9223372036854775807]",
        "[99999999999]",
        "()",
        " is divisibleby(0)",
        " is divisibleby(-1)",
        " is even",
        " is in [1]",
        " is gt 'a'",
    ];

    private static readonly string[] s_operators = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "not in", "and", "or"];

    private static readonly string[] s_statements =
    [
        "{% break %}",
        "{% generation %}a{% endgeneration %}",
        "{#",
        "{% raw %}",
        "{{",
        "{%",
        "{% set a, b = [1] %}",
        "{% for a, b in messages %}{% endfor %}",
        "{%- -%}",
        "{% set ns.a = ns.a ~ ns.a %}",
        "{% set ns = namespace(a='aaaa') %}",
    ];

    public static TheoryData<string> Hostile =>
        [
            "{{ " + new string('(', 20_000) + "1" + new string(')', 20_000) + " }}",
            "{{ " + Repeat("not ", 100_000) + "1 }}",
            "{{ " + Repeat("-", 100_000) + "1 }}",
            "{{ " + Repeat("[", 100_000) + " }}",
            "{{ " + Repeat("1+", 100_000) + "1 }}",
            "{{ x" + Repeat(".a", 100_000) + " }}",
            "{{ 'x'" + Repeat("|trim", 100_000) + " }}",
            Repeat("{% if 1 %}", 20_000) + "x" + Repeat("{% endif %}", 20_000),
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
            "{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "{{ 'a' * 1000000000 }}",
            "{{ 'a' * 2000000000 }}",
            "{{ 'a' * 9223372036854775807 }}",
            "{% set ns = namespace(s='aaaaaaaaaa') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}",
            "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s == ns.s }}{{ ns.s }}",
            "{{ messages[0].content|indent(999999999, true) }}",
            "{{ messages|tojson(indent=999999999) }}",
            "{{ 1 is divisibleby(0) }}",
            "{{ [1,2,3][1::9223372036854775807] }}{{ raise_exception('end') }}",
            "{{ loop.cycle() }}{% for x in [1] %}{{ loop.cycle() }}{% endfor %}",
        ];

    private static ITokenizer Tokenizer => TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    // On the stack that a thread of a server has.
    private static void OnThread(Action action)
    {
        Exception? thrown = null;
        var thread = new Thread(
            () =>
            {
                try
                {
                    action();
                }
                catch (Exception e)
                {
                    thrown = e;
                }
            },
            1 << 20
        );
        thread.Start();
        thread.Join();
        if (thrown is not null)
            throw new InvalidOperationException("On its own thread:", thrown);
    }

    [Theory]
    [MemberData(nameof(Hostile))]
    public void Render_template_made_to_be_harmful_is_refused_soon(string template) =>
        OnThread(() =>
        {
            var bytes = GC.GetAllocatedBytesForCurrentThread();
            var watch = Stopwatch.StartNew();
            var refused = Assert.ThrowsAny<LongLoraException>(() =>
                ChatTemplate.Parse(template, "model").Render([new("user", "a question")], Tokenizer, addGenerationPrompt: true)
            );
            Assert.Contains("model: ", refused.Message, StringComparison.Ordinal);
            Assert.InRange(refused.Message.Length, 10, 500);
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - bytes, 0, 2L << 30); // allocated in all, and freed on the way
            Assert.InRange(watch.Elapsed.TotalSeconds, 0, 300); // sees only what does not end: a busy machine takes its time
        });

    [Fact]
    public void Render_whole_number_of_any_size_is_a_number()
    {
        var template = ChatTemplate.Parse(
            "{{ 99999999999999999999 }} {{ [1,2,3][1::9223372036854775807] }} {{ 1 is divisibleby(-1) }}",
            "model"
        );
        var text = template.Render([new("user", "x")], Tokenizer, addGenerationPrompt: true).Text;
        Assert.Equal("99999999999999999999 [2] True", text);
    }

    [Fact]
    public void Render_long_conversations_stay_within_the_limits()
    {
        var messages = Enumerable
            .Range(0, 2000)
            .Select(i => new ChatMessage(i % 2 == 0 ? "user" : "assistant", $"{i} " + Repeat("word ", 200)));
        foreach (var (name, source) in NamedTemplates.All)
        {
            var text = ChatTemplate.Parse(source, name).Render([.. messages], Tokenizer, addGenerationPrompt: true).Text;
            Assert.Contains("1999 word", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Fuzz_templates()
    {
        using var json = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("chat", "chat_templates.json")));
        string[] seeds =
        [
            .. json.RootElement.GetProperty("templates").EnumerateObject().Select(t => t.Value.GetString()!),
            .. NamedTemplates.All.Values,
        ];
        var tokenizer = Tokenizer;
        ChatMessage[] messages = [new("system", "s"), new("user", "Who?"), new("assistant", "Me."), new("user", "Why?\n\nSo?")];
        FuzzRun.Check(
            "jinja",
            5000,
            m => Encoding.UTF8.GetBytes(m.Chance(60) ? Change(m.Pick(seeds), m) : Grow(m, 0)),
            bytes => ChatTemplate.Parse(Encoding.UTF8.GetString(bytes), "model").Render(messages, tokenizer, bytes.Length % 2 == 0)
        );
    }

    private static string Change(string template, Mutation m)
    {
        for (var left = 1 + m.Below(4); left > 0; left--)
        {
            var open = template.IndexOf('{', m.Below(template.Length));
            if (open < 0)
                continue;
            var close = template.IndexOf('}', open) is >= 0 and var at ? at : template.Length - 1;
            template = m.Below(4) switch
            {
                0 => template[..open] + Grow(m, 2) + template[open..],
                1 => template[..open] + template[Math.Min(template.Length, close + 2)..],
                2 => template[..close] + m.Pick(s_filters) + template[close..],
                _ => $"{template[..open]}{{{{ {MakeValue(m, 0)} }}}}{template[open..]}",
            };
        }
        return template;
    }

    private static string MakeValue(Mutation m, int depth) =>
        depth > 4 || m.Chance(25)
            ? m.Pick(s_values)
            : m.Below(6) switch
            {
                0 or 1 => MakeValue(m, depth + 1) + m.Pick(s_filters),
                2 or 3 => $"{MakeValue(m, depth + 1)} {m.Pick(s_operators)} {MakeValue(m, depth + 1)}",
                4 => $"({MakeValue(m, depth + 1)} if {MakeValue(m, depth + 1)} else {MakeValue(m, depth + 1)})",
                _ => $"[{MakeValue(m, depth + 1)},{MakeValue(m, depth + 1)}]",
            };

    private static string Grow(Mutation m, int depth)
    {
        var text = new StringBuilder();
        for (var left = 1 + m.Below(4); left > 0; left--)
        {
            text.Append(
                m.Below(depth > 3 ? 3 : 8) switch
                {
                    0 => "text ",
                    1 or 2 => $"{{{{ {MakeValue(m, 0)} }}}}",
                    3 => $"{{% for x in {MakeValue(m, 0)} %}}{Grow(m, depth + 1)}{{% endfor %}}",
                    4 => $"{{% if {MakeValue(m, 0)} %}}{Grow(m, depth + 1)}{{% endif %}}",
                    5 => $"{{% set x = {MakeValue(m, 0)} %}}",
                    6 => $"{{% macro m(a, b=1) %}}{Grow(m, 3)}{{% endmacro %}}",
                    _ => m.Pick(s_statements),
                }
            );
        }
        return text.ToString();
    }

    public static TheoryData<string, string> HostileRecipes =>
        new()
        {
            { "? &a [*a]\n: x\n", "alias" },
            { "? &a {*a : 1}\n: x\n", "alias" },
            { "model: m\ndata: &a [*a]\n", "alias" },
            { "model: m\ndata: [d] *a\ncontext: 8192\noutput: o '\n", "recipe.yaml" },
            { "model: m\ndata: [books\ncontext: 8192\noutput: o\n", "recipe.yaml" },
            { "data: \n " + Repeat("- ", 50_000) + "x", "nested" },
            { "data: " + new string('[', 100_000) + new string(']', 100_000), "nested" },
            { "data: " + Repeat("{a: ", 100_000), "nested" },
            { "data: \"unclosed", "recipe.yaml" },
        };

    [Theory]
    [MemberData(nameof(HostileRecipes))]
    public void Parse_recipe_made_to_be_harmful_is_refused_soon(string yaml, string expected) =>
        OnThread(() =>
        {
            var refused = Assert.Throws<ConfigurationException>(() => Recipe.Parse(yaml, "recipe.yaml", FineTuneOptionTable.Defaults));
            Assert.StartsWith("recipe.yaml", refused.Message, StringComparison.Ordinal);
            Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
            Assert.InRange(refused.Message.Length, 10, 500);
        });

    [Fact]
    public void Fuzz_recipes()
    {
        string[] seeds =
        [
            "model: m\ndata: [d]\ncontext: 8192\noutput: o\n",
            "model: m\ndata:\n  - {path: books, weight: 0.5}\n  - e\ncontext: 4096\noutput: o # end\nlearning-rate: 1e-4\n",
            Recipe.Write(FineTuneOptionTable.Defaults, "seed"),
        ];
        string[] pieces =
        [
            "&a [*a]",
            "*a",
            "<<: *a",
            "!!binary x",
            "? [a, b]\n: c",
            "- - - -",
            "{a: {b: {c: d}}}",
            "|\n x",
            ">-\n",
            "%YAML 1.1\n---\n",
            "\0",
            "...\n---\n",
            "1e999",
            "-1",
            "2147483648",
            "[[[[[[[[[[",
            "nan",
            ".inf",
            "~",
            "\t",
            "'",
            "\"\\x\"",
            "data: [{path: x, weight: nan}]",
            "[a]: b",
            "{}: x",
            "\n",
            ": ",
        ];
        FuzzRun.Check(
            "recipe",
            5000,
            m => m.Text(m.Pick(seeds), pieces),
            bytes => Recipe.Parse(Encoding.UTF8.GetString(bytes), "recipe.yaml", FineTuneOptionTable.Defaults).Validate()
        );
    }
}
