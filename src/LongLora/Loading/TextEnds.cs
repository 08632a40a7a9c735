using LongLora.Configs;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>The tokens that end texts. Only this class decides what separates documents and where generation stops.</summary>
internal static class TextEnds
{
    /// <summary>
    /// The token between two documents: the EOS of the tokenizer, or else the first EOS of the config; null if there is none.
    /// </summary>
    internal static int? FindSeparator(ModelConfig config, ITokenizer? tokenizer) =>
        tokenizer?.EosTokenId ?? config.EosTokenIds.Cast<int?>().FirstOrDefault();

    /// <summary>Every token that ends a text: those of the config, and the EOS of the tokenizer.</summary>
    internal static IReadOnlyList<int> FindTokens(ModelConfig config, ITokenizer? tokenizer) =>
        [.. config.EosTokenIds.Concat(tokenizer?.EosTokenId is { } end ? [end] : []).Distinct()];
}
