using System.Text;
using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Cli;

/// <summary>
/// Tokens of an example for people to read: each token between bars, line ends written out as well as made, so that the text keeps its
/// form; what the model is not trained to predict stands in <c>⟦ ⟧</c>.
/// </summary>
internal static class TokenLines
{
    internal static string Of(TrainingExample example, ITokenizer tokenizer)
    {
        var text = new StringBuilder();
        var (isMasked, learnt) = (false, 0);
        foreach (var token in TokenPreview.Read(example, tokenizer))
        {
            if (isMasked == token.IsLearnt)
                text.Append(token.IsLearnt ? "⟧" : "⟦");
            isMasked = !token.IsLearnt;
            learnt += token.IsLearnt ? 1 : 0;
            text.Append('|').Append(token.Text.Replace("\n", "\\n\n", StringComparison.Ordinal));
        }
        if (isMasked)
            text.Append('⟧');
        text.AppendLine().Append($"({example.Ids.Count:N0} tokens");
        if (example.Labels is not null)
            text.Append($", {learnt:N0} of them learnt");
        return text.Append(')').ToString();
    }
}
