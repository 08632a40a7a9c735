namespace LongLora.Evaluation;

/// <summary>A kind of question about a long document. The same seed and size give the same document on every machine.</summary>
internal abstract class RetrievalTask
{
    /// <summary>Its name on the command line.</summary>
    public abstract string Name { get; }

    /// <summary>Maximum tokens of an answer.</summary>
    public abstract int AnswerTokens { get; }

    /// <summary>The unit of the size for <see cref="Make"/>, such as characters of filler.</summary>
    public abstract string Unit { get; }

    /// <summary>The smallest size.</summary>
    public abstract int SmallestSize { get; }

    /// <summary>The largest size. Default 2^28, more than any model reads.</summary>
    public virtual int LargestSize => 1 << 28;

    /// <summary>Generates a document.</summary>
    /// <param name="seed">Determines what is hidden, and where.</param>
    /// <param name="size">Length in <see cref="Unit"/>; longer documents have more tokens.</param>
    public abstract RetrievalCase Make(int seed, int size);

    /// <summary>The form of this task for documents of a number of tokens. Default: the same for all.</summary>
    public virtual RetrievalTask ForLength(int length) => this;

    /// <summary>Whether a generated text is the correct answer.</summary>
    public abstract bool IsRight(RetrievalCase question, string generated);

    /// <summary>How much of the answer a generated text contains, 0 to 1. Default: all or nothing.</summary>
    public virtual double Score(RetrievalCase question, string generated) => IsRight(question, generated) ? 1 : 0;

    /// <summary>
    /// Whether documents leave space for <see cref="AnswerTokens"/>; otherwise only for the correct answer. Default false.
    /// </summary>
    public virtual bool ReservesAnswer => false;

    private protected static string? FindLastNumber(string text) =>
        string.Concat(text.Reverse().SkipWhile(c => !char.IsAsciiDigit(c)).TakeWhile(char.IsAsciiDigit).Reverse()) is { Length: > 0 } digits
            ? digits
            : null;

    // The first whole number of a text, or null.
    private protected static string? FindFirstNumber(string text) =>
        string.Concat(text.SkipWhile(c => !char.IsAsciiDigit(c)).TakeWhile(char.IsAsciiDigit)) is { Length: > 0 } digits ? digits : null;
}
