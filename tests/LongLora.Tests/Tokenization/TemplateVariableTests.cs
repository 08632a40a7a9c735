using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tests.Tokenization;

/// <summary>Variables that a chat template offers to its caller.</summary>
public class TemplateVariableTests
{
    private const string Switches = """
        {%- if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}
        {%- set keep = preserve_thinking | default(false) %}
        {%- macro write(message, mark='x') %}{{ mark }}{{ message.reasoning_content }}{% endmacro %}
        {%- for message in messages if message.role != 'system' %}
        {{- write(message, mark=reasoning_effort) }}{{ loop.index }}{{ messages[loop.index0 - 1]['content'] }}
        {%- if message.content is string and not message.hidden %}{{ bos_token }}{{ date_string | upper }}{% endif %}
        {%- endfor %}
        {%- set ns = namespace(found=false) %}{% set ns.found = keep %}{{ ns.found }}
        {%- if add_generation_prompt and not enable_thinking %}{{ raise_exception('no') if xml_tools else strftime_now('%Y') }}{% endif %}
        """;

    [Fact]
    public void Variables_are_what_a_template_reads_and_does_not_make() =>
        Assert.Equal(
            ["enable_thinking", "preserve_thinking", "reasoning_effort", "date_string"],
            ChatTemplate.Parse(Switches, "test").Variables
        );

    // jinja2.meta.find_undeclared_variables of jinja2 3.1.6, which takes any name for undeclared that is set in a branch.
    [Theory]
    [InlineData("mistral-v0.1", "bos_token eos_token messages")]
    [InlineData("zephyr", "add_generation_prompt eos_token messages")]
    [InlineData("phi3", "add_generation_prompt eos_token messages")]
    [InlineData("qwen2.5", "add_generation_prompt messages tools")]
    [InlineData("smollm2", "add_generation_prompt messages")]
    [InlineData("mistral-v0.3", "bos_token content eos_token loop_messages messages system_message tools")]
    public void Variables_are_those_of_jinja2(string name, string expected)
    {
        using var file = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("chat", "chat_templates.json")));
        var found = JinjaVariables.Find(file.RootElement.GetProperty("templates").GetProperty(name).GetString()!);
        Assert.Empty(found.Except(expected.Split(' ')));
        Assert.Empty(expected.Split(' ').Except([.. found, "content", "loop_messages", "system_message"]));
    }

    [Fact]
    public void Template_options_are_values_of_its_variables()
    {
        const string source =
            "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
            + "{% if add_generation_prompt %}[assistant]{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}{{ more }}";
        var template = ChatTemplate.Parse(source, "test");
        var tokenizer = TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));
        ChatMessage[] messages = [new("user", "Hi"), new("assistant", "Yes")];
        string Write(params string[] options) => template.With(options).Render(messages, tokenizer, addGenerationPrompt: true).Text;
        Assert.Equal("[user]Hi[assistant]Yes[assistant]", Write());
        Assert.Equal("[user]Hi[assistant]Yes[assistant]<think></think>", Write("enable_thinking=false"));
        Assert.Equal("[user]Hi[assistant]Yes[assistant]a=b", Write("more=a=b", "enable_thinking=true"));
        Assert.Contains(
            "Its variables are enable_thinking, more. Did you mean 'enable_thinking'?",
            Assert.Throws<ConfigurationException>(() => Write("enable_thinkin=false")).Message,
            StringComparison.Ordinal
        );
        Assert.Contains("NAME=VALUE", Assert.Throws<ConfigurationException>(() => Write("more")).Message, StringComparison.Ordinal);
    }
}
