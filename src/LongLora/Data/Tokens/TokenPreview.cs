using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>Shows people what a model will see.</summary>
internal static class TokenPreview
{
    /// <summary>The tokens of an example one by one.</summary>
    /// <param name="example">The example. Without labels every token counts as learned.</param>
    /// <param name="tokenizer">The tokenizer that made it.</param>
    public static IEnumerable<PreviewToken> Read(TrainingExample example, ITokenizer tokenizer)
    {
        var decoder = new StreamingDecoder(tokenizer, skipSpecial: false);
        for (var i = 0; i < example.Ids.Count; i++)
            yield return new PreviewToken(
                example.Ids[i],
                decoder.Append(example.Ids[i]),
                example.Labels is null || example.Labels[i] != TrainingExample.IgnoredLabel
            );
    }
}
