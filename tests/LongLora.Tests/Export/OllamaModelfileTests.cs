using System.Text;
using System.Text.RegularExpressions;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Tokenization;

namespace LongLora.Tests.Export;

public partial class OllamaModelfileTests
{
    private static ITokenizer Stories => TokenizerLoader.Load(SharedMaterial.Golden("stories260K-hf"));

    // A reading of the few words of Go's language that are written, apart from the writer: ranges, conditions on the role, contents.
    private static string Render(string template, params (string Role, string Text)[] messages)
    {
        Assert.DoesNotContain("{{-", template); // it drops the white space before it
        var body = Range().Match(template);
        Assert.True(body.Success, template);
        var text = new StringBuilder();
        foreach (var (role, content) in messages)
        {
            var arm = Regex.Match(
                body.Groups["body"].Value + "{{ end }}",
                $"eq \\.Role \"{role}\" \\}}\\}}(?<arm>.*?)\\{{\\{{ (else|end)",
                RegexOptions.Singleline
            );
            Assert.True(arm.Success, role);
            text.Append(arm.Groups["arm"].Value.Replace("{{ .Content }}", content, StringComparison.Ordinal));
        }
        return text.Append(body.Groups["after"].Value).ToString();
    }

    [GeneratedRegex(@"^\{\{ range \.Messages \}\}(?<body>.*)\{\{ end \}\}\{\{ end \}\}(?<after>.*)$", RegexOptions.Singleline)]
    private static partial Regex Range();

    private static string Template(string modelfile) =>
        Regex.Match(modelfile, "TEMPLATE \"\"\"(.*?)\"\"\"", RegexOptions.Singleline).Groups[1].Value;

    [Theory]
    [InlineData("chatml", "<|im_end|>")]
    [InlineData("llama3", "<|eot_id|>")]
    [InlineData("phi3", "<|end|>")]
    public void Template_of_a_regular_kind_says_the_same_in_Go(string name, string end)
    {
        var template = ChatTemplate.Find(name, "");
        var text = OllamaModelfile.Compose("m.gguf", 4096, Stories, template);
        Assert.StartsWith("FROM ./m.gguf\nPARAMETER num_ctx 4096\n", text);
        Assert.Contains($"PARAMETER stop \"{end}\"", text);
        (string, string)[] chat = [("system", "Be brief."), ("user", "Hi, {you}"), ("assistant", "Yes?"), ("user", "A\n\nB")];
        foreach (var used in new[] { chat, chat[1..], chat[1..2] })
        {
            var expected = template.Render([.. used.Select(m => new ChatMessage(m.Item1, m.Item2))], Stories, true).Text;
            // The engine writes BOS by itself.
            Assert.Equal(expected.StartsWith("<s>", StringComparison.Ordinal) ? expected[3..] : expected, Render(Template(text), used));
        }
    }

    [Fact]
    public void Template_with_a_message_of_its_own_says_it_as_system()
    {
        var model = SharedMaterial.Shared("models", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf");
        using var file = GgufModel.Open(model);
        var template = ChatTemplate.Parse(file.ChatTemplate!, "smollm2");
        var text = OllamaModelfile.Compose("smollm2.gguf", 8192, file.Tokenizer, template);
        Assert.Contains("SYSTEM \"\"\"You are a helpful AI assistant named SmolLM, trained by Hugging Face\"\"\"", text);
        Assert.Contains("PARAMETER stop \"<|im_end|>\"", text);
        var system = ("system", "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
        Assert.Equal(template.Render([new("user", "Hi")], file.Tokenizer!, true).Text, Render(Template(text), system, ("user", "Hi")));
    }

    // Llama 2 puts the system message into the first question: no frame can say that.
    [Theory]
    [InlineData("llama2")]
    [InlineData("alpaca")]
    public void Template_of_another_kind_is_left_to_Ollama(string name) =>
        Assert.Equal(
            "FROM ./m.gguf\nPARAMETER num_ctx 512\n# Ollama takes the chat template from the GGUF file.\n",
            OllamaModelfile.Compose("m.gguf", 512, Stories, ChatTemplate.Find(name, ""))
        );

    [Fact]
    public void Model_without_a_template_has_none() =>
        Assert.Equal("FROM ./m.gguf\nPARAMETER num_ctx 512\n", OllamaModelfile.Compose("m.gguf", 512, Stories, null));
}
