using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>A text to go on from, as a user wrote it: special tokens in it, such as <c>&lt;|im_start|&gt;</c>, are tokens.</summary>
internal static class PromptText
{
    /// <summary>Encodes one.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="text">The text.</param>
    /// <param name="material">What somebody else wrote and stands before it; special tokens in it are ordinary text.</param>
    /// <param name="addSpecial">Adds what the tokenizer adds around a text, but not before a text that begins with it.</param>
    /// <param name="most">Most ids; a text that has more is given up early.</param>
    /// <exception cref="TextTooLongException">It has more ids.</exception>
    internal static IReadOnlyList<int> Encode(
        ITokenizer tokenizer,
        string text,
        string material = "",
        bool addSpecial = true,
        int most = int.MaxValue
    )
    {
        var whole = material.Length == 0 ? MarkedText.Of(text) : MarkedText.Join([MarkedText.Of(material, owner: 1), MarkedText.Of(text)]);
        var (ids, _) = MaskedEncoding.Encode(tokenizer, whole, [], most);
        if (!addSpecial)
            return ids;
        var frame = TokenFrame.Find(tokenizer);
        if (!ids.Take(frame.Before.Count).SequenceEqual(frame.Before))
            ids.InsertRange(0, frame.Before);
        ids.AddRange(frame.After);
        return ids.Count <= most ? ids : throw new TextTooLongException(ids.Count);
    }
}
