namespace LongLora.Tokenization;

/// <summary>What a tokenizer adds before and after every text, usually BOS before it.</summary>
/// <param name="Before">The ids before it.</param>
/// <param name="After">The ids after it.</param>
internal sealed record TokenFrame(IReadOnlyList<int> Before, IReadOnlyList<int> After)
{
    /// <summary>Finds it with a text of one letter.</summary>
    internal static TokenFrame Find(ITokenizer tokenizer)
    {
        int[] plain = [.. tokenizer.Encode("a")];
        int[] framed = [.. tokenizer.Encode("a", addSpecial: true)];
        var at = framed.AsSpan().IndexOf(plain);
        return at < 0 ? new([], []) : new(framed[..at], framed[(at + plain.Length)..]);
    }
}
