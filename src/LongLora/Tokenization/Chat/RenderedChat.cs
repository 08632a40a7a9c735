using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>A conversation as a model reads it, with the places of its answers.</summary>
public sealed class RenderedChat
{
    private readonly MarkedText _text;

    internal RenderedChat(MarkedText text, IReadOnlyList<(int Start, int End)> answers) => (_text, Answers) = (text, answers);

    /// <summary>The text, special tokens written out.</summary>
    public string Text => _text.Text;

    /// <summary>
    /// Where the model is to write by itself: [start, end) in characters, in order, each with the token that ends the turn.
    /// </summary>
    public IReadOnlyList<(int Start, int End)> Answers { get; }

    /// <summary>A text that is not written by a template: a question, and the answer that follows it as it is.</summary>
    /// <param name="prompt">The question; may be empty.</param>
    /// <param name="answer">The answer.</param>
    /// <param name="tokenizer">BOS comes in front where it puts it there by itself; EOS ends the answer where there is one.</param>
    public static RenderedChat FromPlainText(string prompt, string answer, ITokenizer tokenizer)
    {
        string Written(int? id) => id is { } token ? tokenizer.Decode([token], skipSpecial: false) : "";
        var bos = tokenizer.Encode("a", addSpecial: true) is [var first, ..] && first == tokenizer.BosTokenId ? Written(first) : "";
        var text = MarkedText.Join([
            MarkedText.Of(bos),
            MarkedText.Of(prompt, 1),
            MarkedText.Of(answer, 2),
            MarkedText.Of(Written(tokenizer.EosTokenId)),
        ]);
        return new RenderedChat(text, [(bos.Length + prompt.Length, text.Length)]);
    }

    /// <summary>
    /// The ids of the whole text, and of each whether it belongs to an answer. Special tokens that somebody wrote into a message stay
    /// ordinary text.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    public (IReadOnlyList<int> Ids, IReadOnlyList<bool> IsAnswer) Encode(ITokenizer tokenizer) =>
        MaskedEncoding.Encode(tokenizer, _text, Answers);
}
