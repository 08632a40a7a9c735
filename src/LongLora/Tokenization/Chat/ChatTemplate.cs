using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// Writes conversations as a model was taught to read them. The model's own Jinja template is rendered as transformers does it; where a
/// model has none, some well-known ones go by name. A template may be used by several threads at once.
/// </summary>
public sealed partial class ChatTemplate
{
    // Owner of what stands in the list of tools: nobody's message, and not the template's either.
    private const short Tools = -1;
    private const string Eos = "<eos>";

    private readonly JinjaTemplate _template;
    private readonly Lazy<string> _generationPrompt,
        _turnEnd;

    private ChatTemplate(string source, string origin)
    {
        (Source, Origin) = (source, origin);
        try
        {
            _template = JinjaTemplate.Parse(source);
        }
        catch (JinjaException e)
        {
            throw new CheckpointException(
                $"{origin}: the chat template cannot be used: {e.Message}. Give a template by name ({string.Join(", ", Names)}) or as a "
                    + $"file.",
                e
            );
        }
        (_generationPrompt, _turnEnd) = (new Lazy<string>(GenerationPrompt), new Lazy<string>(EndOfOneAnswer));
        (WritesTools, WritesToolCalls) = (ToolsVariable().IsMatch(source), source.Contains(ToolCalls.Member, StringComparison.Ordinal));
    }

    /// <summary>Templates that go by name.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. NamedTemplates.All.Keys];

    /// <summary>The template as it is written.</summary>
    public string Source { get; }

    /// <summary>Where it came from, for messages.</summary>
    public string Origin { get; }

    /// <summary>Whether it has a place for the list of tools that a model may call.</summary>
    public bool WritesTools { get; }

    /// <summary>
    /// Whether it writes <c>tool_calls</c> in a form of its own. Where it does not, an answer that calls tools is the JSON of its calls.
    /// </summary>
    public bool WritesToolCalls { get; }

    /// <summary>Finds a template.</summary>
    /// <param name="choice"><c>auto</c> for the model's own, one of <see cref="Names"/>, or a file.</param>
    /// <param name="modelDirectory">Folder of the model.</param>
    /// <exception cref="ConfigurationException">There is none of that name, or the model has none of its own.</exception>
    /// <exception cref="CheckpointException">It uses what is not supported; the message names it.</exception>
    public static ChatTemplate Find(string choice, string modelDirectory)
    {
        if (choice == "auto")
        {
            return ReadOfModel(modelDirectory)
                ?? throw new ConfigurationException(
                    $"'{modelDirectory}' has no chat template, neither in tokenizer_config.json nor as chat_template.jinja. Choose one "
                        + $"with template: {string.Join(", ", Names)}, or a file."
                );
        }
        if (NamedTemplates.All.TryGetValue(choice, out var source))
            return new ChatTemplate(source, $"template '{choice}'");
        if (File.Exists(choice))
            return new ChatTemplate(File.ReadAllText(choice), choice);
        throw new ConfigurationException(
            $"There is no template '{choice}'; use auto (the model's own), {string.Join(", ", Names)}, or a "
                + $"file.{NearestName.Hint(choice, Names)}"
        );
    }

    /// <summary>
    /// The template of a model folder (<c>chat_template.jinja</c>, or <c>chat_template</c> in <c>tokenizer_config.json</c>), or null
    /// where it has none.
    /// </summary>
    /// <exception cref="CheckpointException">It uses what is not supported, or a file is damaged.</exception>
    public static ChatTemplate? ReadOfModel(string modelDirectory)
    {
        var file = Path.Combine(modelDirectory, "chat_template.jinja");
        if (File.Exists(file))
            return new ChatTemplate(File.ReadAllText(file), file);
        var config = Path.Combine(modelDirectory, "tokenizer_config.json");
        using var document = TokenizerFiles.ReadJsonIfPresent(config);
        if (
            document is null
            || document.RootElement.ValueKind != JsonValueKind.Object
            || !document.RootElement.TryGetProperty("chat_template", out var node)
        )
            return null;
        return node.ValueKind switch
        {
            JsonValueKind.String => new ChatTemplate(node.GetString()!, config),
            JsonValueKind.Array => OfList(node, config),
            JsonValueKind.Null => null,
            _ => throw new CheckpointException(
                $"{config}: chat_template is {node.ValueKind}; it must be a string or a list of named templates."
            ),
        };
    }

    /// <summary>Makes a template from its text.</summary>
    /// <param name="source">Jinja.</param>
    /// <param name="origin">Where it came from, for messages.</param>
    public static ChatTemplate Parse(string source, string origin) => new(source, origin);

    /// <summary>A conversation as the model reads it.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="tokenizer">Gives the written forms of BOS and EOS.</param>
    /// <param name="addGenerationPrompt">Ends with what comes before the model's next answer.</param>
    /// <param name="tools">The tools that the model may call, a list as OpenAI writes it; null for none.</param>
    /// <exception cref="DataException">The template refuses the conversation.</exception>
    public RenderedChat Render(
        IReadOnlyList<ChatMessage> messages,
        ITokenizer tokenizer,
        bool addGenerationPrompt = false,
        JsonElement? tools = null
    )
    {
        var text = Render(
            messages,
            Written(tokenizer, tokenizer.BosTokenId),
            Written(tokenizer, tokenizer.EosTokenId),
            addGenerationPrompt,
            tools,
            out var generated
        );
        return new RenderedChat(text, generated.Count > 0 ? generated : Answers(text, messages, tokenizer));
    }

    private static ChatTemplate? OfList(JsonElement list, string config)
    {
        foreach (var item in list.EnumerateArray())
        {
            if (
                item.TryGetProperty("name", out var name)
                && name.GetString() == "default"
                && item.TryGetProperty("template", out var template)
            )
                return new ChatTemplate(template.GetString() ?? "", config);
        }
        return null;
    }

    private static string Written(ITokenizer tokenizer, int? id) => id is { } token ? tokenizer.Decode([token], skipSpecial: false) : "";

    private MarkedText Render(
        IReadOnlyList<ChatMessage> messages,
        string bos,
        string eos,
        bool addGenerationPrompt,
        JsonElement? tools,
        out List<(int Start, int End)> generated
    )
    {
        try
        {
            return _template.Render(
                new Dictionary<string, object?>
                {
                    ["messages"] = messages.Select(object? (m, i) => Value(m, (short)Math.Min(i + 1, short.MaxValue))).ToList(),
                    ["bos_token"] = MarkedText.Of(bos),
                    ["eos_token"] = MarkedText.Of(eos),
                    ["add_generation_prompt"] = addGenerationPrompt,
                    ["tools"] = tools is { } list ? Value(list, Tools) : null,
                    ["documents"] = null,
                },
                out generated
            );
        }
        catch (JinjaException e)
        {
            throw new DataException($"{Origin}: {e.Message}", e);
        }
    }

    private Dictionary<string, object?> Value(ChatMessage message, short owner)
    {
        if (!WritesToolCalls)
            message = ToolCalls.MoveToContent(message);
        var value = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["role"] = MarkedText.Of(message.Role),
            ["content"] = MarkedText.Of(message.Content, owner),
        };
        foreach (var (name, member) in message.Further ?? new Dictionary<string, JsonElement>())
            value[name] = Value(member, owner);
        return value;
    }

    private static object? Value(JsonElement json, short owner) =>
        json.ValueKind switch
        {
            JsonValueKind.String => MarkedText.Of(json.GetString()!, owner),
            JsonValueKind.Number => json.TryGetInt64(out var whole) ? (object)whole : json.GetDouble(),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Array => json.EnumerateArray().Select(item => Value(item, owner)).ToList(),
            JsonValueKind.Object => json.EnumerateObject().ToDictionary(p => p.Name, p => Value(p.Value, owner)),
            _ => null,
        };

    // An answer begins where the model begins to write, behind the prompt for it, and ends with the token that ends its turn.
    private List<(int Start, int End)> Answers(MarkedText text, IReadOnlyList<ChatMessage> messages, ITokenizer tokenizer)
    {
        var answers = new List<(int, int)>();
        var before = 0;
        var owned = Owned(text);
        for (var i = 0; i < owned.Count; i++)
        {
            var (owner, start, end) = owned[i];
            if (owner != Tools && messages[owner - 1].Role == ChatMessage.Assistant)
            {
                var prompt = _generationPrompt.Value;
                var at = prompt.Length > 0 ? text.Text.LastIndexOf(prompt, start, start - before, StringComparison.Ordinal) : -1;
                answers.Add(
                    (
                        at >= before ? at + prompt.Length : start,
                        FindMessageEnd(text, end, i + 1 < owned.Count ? owned[i + 1].Start : text.Length, tokenizer)
                    )
                );
            }
            before = end;
        }
        return answers;
    }

    // First and last character of what came from each message, in the order of the text.
    private static List<(short Owner, int Start, int End)> Owned(MarkedText text)
    {
        var owned = new List<(short Owner, int Start, int End)>();
        for (var i = 0; i < text.Length; i++)
        {
            var owner = text.GetOwner(i);
            if (owner == MarkedText.Template)
                continue;
            if (owned.Count > 0 && owned[^1].Owner == owner)
                owned[^1] = owned[^1] with { End = i + 1 };
            else
                owned.Add((owner, i, i + 1));
        }
        return owned;
    }

    // The token that ends answers, wherever it stands before the next message: the template may close a call of a tool before it.
    private int FindMessageEnd(MarkedText text, int end, int next, ITokenizer tokenizer)
    {
        var token = _turnEnd.Value == Eos ? Written(tokenizer, tokenizer.EosTokenId) : _turnEnd.Value;
        if (
            token.Length > 0
            && tokenizer.FindToken(token) is not null
            && text.Text.IndexOf(token, end, next - end, StringComparison.Ordinal) is >= 0 and var at
        )
            return at + token.Length;
        var match = MessageEnd().Match(text.Text, end);
        if (
            match.Success
            && text.GetOwner(match.Index + match.Length - 1) == MarkedText.Template
            && tokenizer.FindToken(match.Groups[1].Value) is not null
        )
            return match.Index + match.Length;
        var eos = Written(tokenizer, tokenizer.EosTokenId);
        return eos.Length > 0 && string.CompareOrdinal(text.Text, end, eos, 0, eos.Length) == 0 ? end + eos.Length : end;
    }

    // What a template writes to ask for an answer, seen on a conversation of one word. It lacks where the template writes it always, or
    // never.
    private string GenerationPrompt()
    {
        ChatMessage[] one = [new("user", "x")];
        try
        {
            var (without, with) = (Render(one, "", "", false, null, out _).Text, Render(one, "", "", true, null, out _).Text);
            return with.StartsWith(without, StringComparison.Ordinal) ? with[without.Length..] : "";
        }
        catch (DataException)
        {
            return "";
        }
    }

    // Seen on an answer of one word; empty where the template writes none.
    private string EndOfOneAnswer()
    {
        const string said = "said";
        try
        {
            var text = Render([new("user", "x"), new(ChatMessage.Assistant, said)], "", Eos, false, null, out _).Text;
            return MessageEnd().Match(text, text.LastIndexOf(said, StringComparison.Ordinal) + said.Length).Groups[1].Value;
        }
        catch (DataException)
        {
            return "";
        }
    }

    [GeneratedRegex(@"\btools\b")]
    private static partial Regex ToolsVariable();

    [GeneratedRegex(@"\G\s*(<[^<>\s]+>)")]
    private static partial Regex MessageEnd();
}
