using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>A conversation as a model reads it, with the positions of its answers.</summary>
internal sealed class RenderedChat
{
    private readonly MarkedText _text;

    internal RenderedChat(MarkedText text, IReadOnlyList<(int Start, int End)> answers) => (_text, Answers) = (text, answers);

    /// <summary>The text, including special tokens.</summary>
    public string Text => _text.Text;

    /// <summary>
    /// The text that the model should write itself: [start, end) in characters, in order, each including the token that ends the answer.
    /// </summary>
    public IReadOnlyList<(int Start, int End)> Answers { get; }

    /// <summary>
    /// How much of the learned answers is not in the text, in characters without white space: what is missing, and all of it.
    /// </summary>
    /// <param name="messages">The messages that were rendered.</param>
    public (int Unwritten, int All) CountUnwritten(IReadOnlyList<ChatMessage> messages)
    {
        var (unwritten, all) = (0, 0);
        foreach (var (i, message) in messages.Index())
        {
            if (message is not { Role: ChatMessage.Assistant, IsLearned: true })
                continue;
            var count = UnwrittenText.Count(message, (short)Math.Min(i + 1, short.MaxValue), _text);
            (unwritten, all) = (unwritten + count.Unwritten, all + count.All);
        }
        return (unwritten, all);
    }

    /// <summary>
    /// A text without a template: a question, directly followed by the answer. An answer of white space is none, as in conversations.
    /// </summary>
    /// <param name="prompt">The question; may be empty.</param>
    /// <param name="answer">The answer.</param>
    /// <param name="tokenizer">
    /// BOS is written at the start if the tokenizer writes it by default. EOS ends the answer if there is one.
    /// </param>
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
        return new RenderedChat(text, string.IsNullOrWhiteSpace(answer) ? [] : [(bos.Length + prompt.Length, text.Length)]);
    }

    /// <summary>
    /// The ids of the whole text, and for each id whether it belongs to an answer. Special tokens that somebody typed into a message are
    /// ordinary text.
    /// </summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="most">Most ids; a text that has more is given up early.</param>
    /// <exception cref="TextTooLongException">It has more ids.</exception>
    public (IReadOnlyList<int> Ids, IReadOnlyList<bool> IsAnswer) Encode(ITokenizer tokenizer, int most = int.MaxValue) =>
        MaskedEncoding.Encode(tokenizer, _text, Answers, most);

    /// <summary>For each id of <see cref="Encode"/> whether the template wrote any of it.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    public IReadOnlyList<bool> FindMarks(ITokenizer tokenizer) => MaskedEncoding.Encode(tokenizer, _text, _text.FindTemplate()).Inside;
}
