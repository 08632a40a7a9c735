using System.Text.Json;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>What training learns as the end of an answer is what generation stops at.</summary>
public class AnswerEndTests
{
    private const string Answer = "Me, of course.";

    private static readonly ChatMessage[] s_conversation = [new("user", "Who?"), new(ChatMessage.Assistant, Answer)];

    private static readonly Lazy<JsonElement> s_published = new(() =>
        JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("chat", "chat_templates.json"))).RootElement.GetProperty("templates")
    );

    private static ChatTemplate Template(string name) =>
        name.StartsWith("own:", StringComparison.Ordinal) ? ChatTemplate.Find("auto", SharedMaterial.Shared("tokenizers", name[4..]))
        : ChatTemplate.Names.Contains(name) ? ChatTemplate.Find(name, "")
        : ChatTemplate.Parse(s_published.Value.GetProperty(name).GetString()!, name);

    private static ITokenizer Tokenizer(string name) =>
        name is "llama2" or "stories260K" ? Tokenizers.Open(name, "tokenizer.model") : Tokenizers.Open(name, "tokenizer.json");

    public static TheoryData<string, string> Pairs()
    {
        string[] templates =
        [
            .. ChatTemplate.Names,
            .. s_published.Value.EnumerateObject().Select(t => t.Name).Except(ChatTemplate.Names),
            "own:llama3",
            "own:qwen3",
        ];
        string[] tokenizers = ["stories260K", "llama2", "llama3", "qwen3", "gpt_neox"];
        return [.. templates.SelectMany(template => tokenizers.Select(tokenizer => (template, tokenizer)))];
    }

    // The learned tokens are generated one by one, as a model that has learned them would.
    [Theory]
    [MemberData(nameof(Pairs))]
    public void Learned_answer_is_where_generation_stops(string template, string tokenizerName)
    {
        var (written, tokenizer) = (Template(template), Tokenizer(tokenizerName));
        var end = written.FindEndOfAnswer(tokenizer);
        var chat = written.Render(s_conversation, tokenizer);
        var (ids, isLearned) = chat.Encode(tokenizer);
        List<int> learned = [.. ids.Where((_, i) => isLearned[i])];
        var decoder = new StreamingDecoder(tokenizer, true, [.. ids.TakeWhile((_, i) => !isLearned[i]).TakeLast(8)]);
        var text = new StopText(end.StopTexts);
        var stopped = -1;
        for (var i = 0; i < learned.Count && stopped < 0; i++)
        {
            if (end.StopTokens.Contains(learned[i]))
                text.Append(decoder.Finish());
            else
                text.Append(decoder.Append(learned[i]));
            if (end.StopTokens.Contains(learned[i]) || text.IsEnded)
                stopped = i;
        }
        text.Finish();
        // Every one of these templates ends its answers, some of them with an EOS that a tokenizer.json alone does not name.
        Assert.Equal(end.Text.Length == 0, tokenizer.EosTokenId is null && written.Source.Contains("eos_token", StringComparison.Ordinal));
        Assert.EndsWith(end.Text, chat.Text[..chat.Answers[^1].End], StringComparison.Ordinal);
        Assert.Equal(end.Text.Length == 0 ? -1 : learned.Count - 1, stopped);
        Assert.EndsWith(Answer, text.Given.Trim(), StringComparison.Ordinal);
        Assert.Equal(end.Token is null && end.Text.Length > 0, end.StopTexts.Count == 1);
        Assert.Equal(end.Token is not null, end.StopTokens.Count == 1);
    }

    [Theory]
    [InlineData("chatml", "qwen3", "<|im_end|>", true)]
    [InlineData("chatml", "llama2", "<|im_end|>", false)]
    [InlineData("llama3", "llama3", "<|eot_id|>", true)]
    [InlineData("llama3", "stories260K", "<|eot_id|>", false)]
    [InlineData("llama2", "llama2", "</s>", true)]
    [InlineData("phi3", "gpt_neox", "<|end|>", false)]
    [InlineData("alpaca", "gpt_neox", "", false)]
    [InlineData("alpaca", "qwen3", "<|im_end|>", true)]
    [InlineData("own:qwen3", "qwen3", "<|im_end|>", true)]
    public void End_is_a_token_where_the_tokenizer_has_it_and_a_text_where_not(string template, string name, string text, bool isToken)
    {
        var tokenizer = Tokenizer(name);
        var end = Template(template).FindEndOfAnswer(tokenizer);
        Assert.Equal((text, isToken ? tokenizer.FindToken(text) : null), (end.Text, end.Token));
        Assert.Equal(isToken, end.Token is not null);
    }

    [Fact]
    public void Template_that_writes_no_end_has_none()
    {
        var tokenizer = Tokenizer("llama2");
        var endless = ChatTemplate.Parse("{% for m in messages %}{{ m.content }}\n{% endfor %}", "test");
        var end = endless.FindEndOfAnswer(tokenizer);
        Assert.Equal(("", null), (end.Text, end.Token));
        Assert.Empty(end.StopTokens);
        Assert.Empty(end.StopTexts);
        var chat = endless.Render(s_conversation, tokenizer);
        Assert.Equal([Answer], chat.Answers.Select(a => chat.Text[a.Start..a.End]));
        // Nor has one that refuses a conversation of a question and an answer, or leaves answers out.
        Assert.Equal("", ChatTemplate.Parse("{{ raise_exception('no') }}", "test").FindEndOfAnswer(tokenizer).Text);
        Assert.Equal("", ChatTemplate.Parse("<s><x><y>", "test").FindEndOfAnswer(tokenizer).Text);
        Assert.Equal("", AnswerEnd.None.Text);
    }

    // SentencePiece's vocabulary has the letters of a byte token, which no text becomes.
    [Fact]
    public void Letters_that_look_like_a_token_are_a_text()
    {
        var tokenizer = Tokenizer("llama2");
        Assert.NotNull(tokenizer.FindToken("<0x0A>"));
        var end = ChatTemplate.Parse("{% for m in messages %}{{ m.content }}<0x0A>{% endfor %}", "test").FindEndOfAnswer(tokenizer);
        Assert.Equal(("<0x0A>", null), (end.Text, end.Token));
    }
}
