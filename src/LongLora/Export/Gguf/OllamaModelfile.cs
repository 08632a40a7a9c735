using System.Globalization;
using System.Text;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Export;

/// <summary>
/// Writes a Modelfile next to a GGUF file, from which Ollama creates a model: <c>ollama create NAME</c> in that folder.
/// It has the context, the stop texts, and the chat template in Ollama's own language if that language can express it: a text before and
/// after each message that depends only on its role.
/// </summary>
internal static class OllamaModelfile
{
    private const string Name = "Modelfile";

    /// <summary>
    /// The path of the file to write: <c>Modelfile</c>, where Ollama looks for it, or if the folder has one, <c>a.Modelfile</c> for
    /// <c>a.gguf</c>.
    /// </summary>
    /// <param name="gguf">The GGUF file.</param>
    public static string ChoosePath(string gguf)
    {
        var usual = Path.Combine(Path.GetDirectoryName(gguf) ?? "", Name);
        return Path.Exists(usual)
            ? $"{(gguf.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) ? gguf[..^".gguf".Length] : gguf)}.{Name}"
            : usual;
    }

    /// <summary>Writes the file.</summary>
    /// <param name="gguf">The GGUF file; the Modelfile is written next to it.</param>
    /// <param name="context">The model's context in tokens.</param>
    /// <param name="tokenizer">The tokenizer; null for none.</param>
    /// <param name="template">The chat template; null for none.</param>
    /// <param name="adapter">Name of an adapter's file beside it; null for none.</param>
    /// <returns>The path of the file.</returns>
    public static string Write(string gguf, int context, ITokenizer? tokenizer, ChatTemplate? template, string? adapter = null)
    {
        var path = ChoosePath(gguf);
        AtomicFile.WriteText(path, Compose(Path.GetFileName(gguf), context, tokenizer, template, adapter));
        return path;
    }

    /// <summary>Creates the text of the file.</summary>
    /// <param name="gguf">Name of the GGUF file next to it.</param>
    /// <param name="context">The model's context in tokens.</param>
    /// <param name="tokenizer">The tokenizer; null for none.</param>
    /// <param name="template">The chat template; null for none.</param>
    /// <param name="adapter">Name of an adapter's file beside it; null for none.</param>
    public static string Compose(string gguf, int context, ITokenizer? tokenizer, ChatTemplate? template, string? adapter = null)
    {
        var text = new StringBuilder();
        text.Append(
            CultureInfo.InvariantCulture,
            $"FROM ./{gguf}\n{(adapter is null ? "" : $"ADAPTER ./{adapter}\n")}PARAMETER num_ctx {context}\n"
        );
        if (tokenizer is null || template is null)
            return text.ToString();
        if (MessageFrame.Find(template, tokenizer) is not { } frame)
            return text.Append("# Ollama takes the chat template from the GGUF file.\n").ToString();
        if (template.FindEndOfAnswer(tokenizer).Text is { Length: > 0 } end)
            text.Append(CultureInfo.InvariantCulture, $"PARAMETER stop \"{end}\"\n");
        text.Append(CultureInfo.InvariantCulture, $"TEMPLATE \"\"\"{frame.ToGoTemplate()}\"\"\"\n");
        if (frame.DefaultSystem is { } system)
            text.Append(CultureInfo.InvariantCulture, $"SYSTEM \"\"\"{system}\"\"\"\n");
        return text.ToString();
    }

    /// <summary>What a template writes around messages.</summary>
    internal sealed record MessageFrame(
        string SystemBefore,
        string SystemAfter,
        string UserBefore,
        string UserAfter,
        string AssistantBefore,
        string AssistantAfter,
        string AnswerBefore,
        string? DefaultSystem
    )
    {
        private const string System = "SYSTEM0TEXT",
            Question = "QUESTION1TEXT",
            Answer = "ANSWER2TEXT",
            Next = "NEXT3TEXT";

        /// <summary>The frame of a template, or null if it does more than frame messages.</summary>
        public static MessageFrame? Find(ChatTemplate template, ITokenizer tokenizer)
        {
            // The engine itself adds what starts every text.
            var begin =
                tokenizer.Encode("a", addSpecial: true) is [var first, ..] && first == tokenizer.BosTokenId
                    ? tokenizer.Decode([first], skipSpecial: false)
                    : "";
            string Render(bool answers, params (string Role, string Text)[] messages)
            {
                var text = template.Render([.. messages.Select(m => new ChatMessage(m.Role, m.Text))], tokenizer, answers).Text;
                return text.StartsWith(begin, StringComparison.Ordinal) ? text[begin.Length..] : text;
            }
            try
            {
                (string, string)[] all = [("system", System), ("user", Question), (ChatMessage.Assistant, Answer), ("user", Next)];
                var whole = Split(Render(false, all), System, Question, Answer, Next);
                var asked = Split(Render(true, all), System, Question, Answer, Next);
                var answered = Split(Render(false, ("user", Question), (ChatMessage.Assistant, Answer)), Question, Answer);
                var alone = Split(Render(true, ("user", Question)), Question);
                if (whole is null || asked is null || answered is null || alone is null)
                    return null;
                var (userAfter, assistantAfter) = (whole[4], answered[2]);
                if (
                    !asked[4].StartsWith(userAfter, StringComparison.Ordinal)
                    || !whole[2].StartsWith(userAfter, StringComparison.Ordinal)
                    || !whole[3].StartsWith(assistantAfter, StringComparison.Ordinal)
                )
                    return null;
                var userBefore = whole[3][assistantAfter.Length..];
                if (!whole[1].EndsWith(userBefore, StringComparison.Ordinal))
                    return null;
                var frame = new MessageFrame(
                    whole[0],
                    whole[1][..^userBefore.Length],
                    userBefore,
                    userAfter,
                    whole[2][userAfter.Length..],
                    assistantAfter,
                    asked[4][userAfter.Length..],
                    null
                );
                frame = frame with { DefaultSystem = frame.FindDefault(alone[0]) };
                // The frame is used only if it is right for every test conversation.
                (string, string)[][] conversations = [all, [("user", Question)], [("user", Question), (ChatMessage.Assistant, Answer)]];
                return conversations.All(c => frame.Write(c, true) == Render(true, c)) ? frame : null;
            }
            catch (DataException)
            {
                return null;
            }
        }

        /// <summary>The conversation as Ollama would write it with this frame.</summary>
        public string Write(IReadOnlyList<(string Role, string Text)> messages, bool answers)
        {
            var text = new StringBuilder();
            if (DefaultSystem is { } system && messages[0].Role != "system")
                text.Append(SystemBefore).Append(system).Append(SystemAfter);
            foreach (var (role, content) in messages)
            {
                var (before, after) =
                    role == "system" ? (SystemBefore, SystemAfter)
                    : role == "user" ? (UserBefore, UserAfter)
                    : (AssistantBefore, AssistantAfter);
                text.Append(before).Append(content).Append(after);
            }
            return text.Append(answers ? AnswerBefore : "").ToString();
        }

        /// <summary>
        /// The frame in Ollama's (Go's) template language, without dashes, which would remove adjacent line feeds.
        /// </summary>
        public string ToGoTemplate() =>
            "{{ range .Messages }}"
            + $"{{{{ if eq .Role \"system\" }}}}{SystemBefore}{{{{ .Content }}}}{SystemAfter}"
            + $"{{{{ else if eq .Role \"user\" }}}}{UserBefore}{{{{ .Content }}}}{UserAfter}"
            + $"{{{{ else if eq .Role \"assistant\" }}}}{AssistantBefore}{{{{ .Content }}}}{AssistantAfter}"
            + $"{{{{ end }}}}{{{{ end }}}}{AnswerBefore}";

        // The default system message.
        private string? FindDefault(string before) =>
            before != UserBefore
            && before.StartsWith(SystemBefore, StringComparison.Ordinal)
            && before.EndsWith(SystemAfter + UserBefore, StringComparison.Ordinal)
            && before.Length > SystemBefore.Length + SystemAfter.Length + UserBefore.Length
                ? before[SystemBefore.Length..^(SystemAfter.Length + UserBefore.Length)]
                : null;

        // The texts between markers, each of which occurs once and in order.
        private static List<string>? Split(string text, params string[] marks)
        {
            var parts = new List<string>();
            foreach (var mark in marks)
            {
                var at = text.IndexOf(mark, StringComparison.Ordinal);
                if (at < 0)
                    return null;
                parts.Add(text[..at]);
                text = text[(at + mark.Length)..];
            }
            parts.Add(text);
            return parts;
        }
    }
}
