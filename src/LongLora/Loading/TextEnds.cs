using LongLora.Configs;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>The tokens that end texts: the one rule for what stands between documents, and for what generation stops at.</summary>
internal static class TextEnds
{
    /// <summary>The token between two documents: the tokenizer's EOS, else the first of the config's; null where there is none.</summary>
    internal static int? Separator(ModelConfig config, ITokenizer? tokenizer) =>
        tokenizer?.EosTokenId ?? config.EosTokenIds.Cast<int?>().FirstOrDefault();

    /// <summary>Every token that ends a text: those of the config and the tokenizer's EOS.</summary>
    internal static IReadOnlyList<int> Tokens(ModelConfig config, ITokenizer? tokenizer) =>
        [.. config.EosTokenIds.Concat(tokenizer?.EosTokenId is { } end ? [end] : []).Distinct()];
}
