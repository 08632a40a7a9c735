using System.Text.RegularExpressions;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// What ends the answers of a model: a token if the tokenizer has it, or else a text, for example if a named template is used with a model
/// of another kind. Training learns answers including their end, and generation stops there. Both use this class.
/// </summary>
internal sealed partial class AnswerEnd
{
    /// <summary>Stands for the EOS in what a template writes, as long as the tokenizer is not known.</summary>
    internal const string Eos = "<eos>";

    private readonly ITokenizer? _tokenizer;
    private readonly string _eos = "";

    private AnswerEnd() => Text = "";

    /// <param name="behind">What the template writes after an answer, with <see cref="Eos"/> as EOS.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    internal AnswerEnd(string behind, ITokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        _eos = tokenizer.EosTokenId is { } id ? tokenizer.Decode([id], skipSpecial: false) : "";
        var written = Mark().Match(behind).Groups[1].Value;
        Text = written == Eos ? _eos : written;
        Token = written == Eos ? tokenizer.EosTokenId : FindToken(Text);
    }

    /// <summary>For a model without a template or tokenizer: nothing except what ends any text.</summary>
    public static AnswerEnd None { get; } = new();

    /// <summary>The end as it is written; empty if the template writes none.</summary>
    public string Text { get; }

    /// <summary>The token of <see cref="Text"/>; null if the tokenizer has none.</summary>
    public int? Token { get; }

    /// <summary>Tokens at which an answer stops, in addition to those that end any text.</summary>
    public IReadOnlyList<int> StopTokens => Token is { } token ? [token] : [];

    /// <summary>Texts at which an answer stops.</summary>
    public IReadOnlyList<string> StopTexts => Token is null && Text.Length > 0 ? [Text] : [];

    /// <summary>Finds where an answer ends in a rendered conversation, including what ends it.</summary>
    /// <param name="text">The conversation.</param>
    /// <param name="end">The first character after the message's own text.</param>
    /// <param name="next">The first character of the next message, or the length of the text.</param>
    internal int Find(MarkedText text, int end, int next)
    {
        // Anywhere before the next message: the template may close a tool call before it.
        if (Text.Length > 0 && text.Text.IndexOf(Text, end, next - end, StringComparison.Ordinal) is >= 0 and var at)
            return at + Text.Length;
        // Another token directly after the message, such as one that only ends tool calls.
        var mark = Mark().Match(text.Text, end);
        if (
            mark.Success
            && text.GetOwner(mark.Index + mark.Length - 1) == MarkedText.Template
            && FindToken(mark.Groups[1].Value) is not null
        )
            return mark.Index + mark.Length;
        return _eos.Length > 0 && string.CompareOrdinal(text.Text, end, _eos, 0, _eos.Length) == 0 ? end + _eos.Length : end;
    }

    // Only if the tokenizer encodes the text as this token: a vocabulary may also contain names that no text becomes.
    private int? FindToken(string text) =>
        text.Length > 0 && _tokenizer?.FindToken(text) is { } id && _tokenizer.Encode(text, parseSpecial: true) is [var only] && only == id
            ? id
            : null;

    [GeneratedRegex(@"\G\s*(<[^<>\s]+>)")]
    private static partial Regex Mark();
}
