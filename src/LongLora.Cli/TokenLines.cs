using System.Text;
using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Cli;

/// <summary>
/// Shows the tokens of an example to people. Tokens are separated by bars. Line ends are written out and also made, so that the text keeps
/// its form. Text that the model is not trained to predict is in <c>⟦ ⟧</c>.
/// </summary>
internal static class TokenLines
{
    internal static string Write(TrainingExample example, ITokenizer tokenizer)
    {
        var text = new StringBuilder();
        var (isMasked, learned) = (false, 0);
        foreach (var token in TokenPreview.Read(example, tokenizer))
        {
            if (isMasked == token.IsLearned)
                text.Append(token.IsLearned ? "⟧" : "⟦");
            isMasked = !token.IsLearned;
            learned += token.IsLearned ? 1 : 0;
            text.Append('|').Append(token.Text.Replace("\n", "\\n\n", StringComparison.Ordinal));
        }
        if (isMasked)
            text.Append('⟧');
        text.AppendLine().Append($"({example.Ids.Count:N0} tokens");
        if (example.Labels is not null)
            text.Append($", {learned:N0} of them learned");
        return text.Append(')').ToString();
    }
}
