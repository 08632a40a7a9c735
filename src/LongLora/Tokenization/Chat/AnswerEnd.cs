using System.Text.RegularExpressions;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// What ends the answers of a model: a token where the tokenizer has it, else a text, as with a template by name on a model of another
/// kind. Training learns an answer up to it and with it, and generation stops at it: both ask here.
/// </summary>
public sealed partial class AnswerEnd
{
    /// <summary>Written where a template asks for the token that ends a text, before a tokenizer is known.</summary>
    internal const string Eos = "<eos>";

    private readonly ITokenizer? _tokenizer;
    private readonly string _eos = "";

    private AnswerEnd() => Text = "";

    /// <param name="behind">What the template writes behind an answer, EOS being <see cref="Eos"/>.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    internal AnswerEnd(string behind, ITokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        _eos = tokenizer.EosTokenId is { } id ? tokenizer.Decode([id], skipSpecial: false) : "";
        var written = Mark().Match(behind).Groups[1].Value;
        Text = written == Eos ? _eos : written;
        Token = written == Eos ? tokenizer.EosTokenId : FindToken(Text);
    }

    /// <summary>The end of a model that has no template, or no tokenizer: nothing but what ends every text.</summary>
    public static AnswerEnd None { get; } = new();

    /// <summary>The end as it is written; empty where the template writes none.</summary>
    public string Text { get; }

    /// <summary>The token of <see cref="Text"/>; null where the tokenizer has none.</summary>
    public int? Token { get; }

    /// <summary>Tokens at which an answer stops, besides those that end every text.</summary>
    public IReadOnlyList<int> StopTokens => Token is { } token ? [token] : [];

    /// <summary>Texts at which an answer stops.</summary>
    public IReadOnlyList<string> StopTexts => Token is null && Text.Length > 0 ? [Text] : [];

    /// <summary>Where an answer ends in a rendered conversation, its end included.</summary>
    /// <param name="text">The conversation.</param>
    /// <param name="end">The character behind what the message says.</param>
    /// <param name="next">The first character of the next message, or the length of the text.</param>
    internal int Find(MarkedText text, int end, int next)
    {
        // Wherever it stands before the next message: the template may close a call of a tool before it.
        if (Text.Length > 0 && text.Text.IndexOf(Text, end, next - end, StringComparison.Ordinal) is >= 0 and var at)
            return at + Text.Length;
        // Another token right behind, such as one that ends calls of tools alone.
        var mark = Mark().Match(text.Text, end);
        if (mark.Success && text.Owner(mark.Index + mark.Length - 1) == MarkedText.Template && FindToken(mark.Groups[1].Value) is not null)
            return mark.Index + mark.Length;
        return _eos.Length > 0 && string.CompareOrdinal(text.Text, end, _eos, 0, _eos.Length) == 0 ? end + _eos.Length : end;
    }

    // A token counts where the tokenizer makes it of the text: a vocabulary may hold letters that look like one.
    private int? FindToken(string text) =>
        text.Length > 0 && _tokenizer?.FindToken(text) is { } id && _tokenizer.Encode(text, parseSpecial: true) is [var only] && only == id
            ? id
            : null;

    [GeneratedRegex(@"\G\s*(<[^<>\s]+>)")]
    private static partial Regex Mark();
}
