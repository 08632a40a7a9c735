using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// Writes conversations in the format that a model was trained on. It renders the model's own Jinja template as transformers does. For
/// models without one, some well-known templates are available by name. Thread-safe.
/// </summary>
public sealed partial class ChatTemplate
{
    // Owner of the text in the list of tools, which belongs neither to a message nor to the template.
    private const short Tools = -1;

    private static readonly Dictionary<string, JsonElement> s_none = [];
    private static readonly string[] s_own =
    [
        "messages",
        "tools",
        "xml_tools",
        "documents",
        "bos_token",
        "eos_token",
        "add_generation_prompt",
    ];

    private readonly JinjaTemplate _template;
    private readonly Lazy<string> _generationPrompt,
        _behindAnswer;

    private readonly IReadOnlyDictionary<string, JsonElement> _variables;

    private ChatTemplate(string source, string origin, IReadOnlyDictionary<string, JsonElement>? variables = null)
    {
        (Source, Origin, _variables) = (source, origin, variables ?? s_none);
        try
        {
            _template = JinjaTemplate.Parse(source);
        }
        catch (JinjaException e)
        {
            throw new CheckpointException(
                $"Cannot use the chat template of {origin}: {e.Message}. Give a template by name ({string.Join(", ", Names)}) or as a "
                    + $"file.",
                e
            );
        }
        (_generationPrompt, _behindAnswer) = (new Lazy<string>(FindGenerationPrompt), new Lazy<string>(RenderBehindAnswer));
        (WritesTools, WritesToolCalls) = (ToolsVariable().IsMatch(source), source.Contains(ToolCalls.Member, StringComparison.Ordinal));
        TagsToolCalls = source.Contains("<tool_call>", StringComparison.Ordinal);
        Variables = [.. JinjaVariables.Find(source).Except(s_own)];
    }

    /// <summary>Templates that are available by name.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. NamedTemplates.All.Keys];

    /// <summary>The text of the template.</summary>
    public string Source { get; }

    /// <summary>Where it comes from, for messages.</summary>
    public string Origin { get; }

    /// <summary>Whether it writes the list of tools that a model may call.</summary>
    public bool WritesTools { get; }

    /// <summary>
    /// Whether it writes <c>tool_calls</c> in its own format. If not, an answer that calls tools is the JSON of its calls.
    /// </summary>
    public bool WritesToolCalls { get; }

    /// <summary>Whether it asks for calls of tools between tags, as SmolLM3 does even though it does not write them itself.</summary>
    internal bool TagsToolCalls { get; }

    /// <summary>Whether it knows messages that are results of tools, or writes the role of each message whatever it is.</summary>
    internal bool KnowsResults =>
        RoleOfResults().IsMatch(Source) || (WrittenRole().IsMatch(Source) && !Source.Contains("raise_exception", StringComparison.Ordinal));

    /// <summary>Whether answers have channels, as those of gpt-oss, one of which is for calls.</summary>
    internal bool HasChannels => Source.Contains("<|channel|>", StringComparison.Ordinal);

    /// <summary>Finds a template.</summary>
    /// <param name="choice"><c>auto</c> for the model's own template, one of <see cref="Names"/>, or a file.</param>
    /// <param name="modelDirectory">The model folder.</param>
    /// <exception cref="ConfigurationException">There is no template with that name, or the model has none.</exception>
    /// <exception cref="CheckpointException">It uses an unsupported feature; the message names it.</exception>
    public static ChatTemplate Find(string choice, string modelDirectory)
    {
        if (choice == "auto")
        {
            return ReadOfModel(modelDirectory)
                ?? throw new ConfigurationException(
                    $"'{modelDirectory}' has no chat template, neither in tokenizer_config.json nor as chat_template.jinja. Set the "
                        + $"template to one of {string.Join(", ", Names)}, or to a file."
                );
        }
        if (NamedTemplates.All.TryGetValue(choice, out var source))
            return new ChatTemplate(source, $"template '{choice}'");
        if (File.Exists(choice))
            return new ChatTemplate(Utf8TextReader.ReadFile(choice), Path.GetFileName(choice));
        throw new ConfigurationException(
            $"There is no template '{choice}'. Use auto (the model's own), {string.Join(", ", Names)}, or a "
                + $"file.{NearestName.Hint(choice, Names)}"
        );
    }

    /// <summary>
    /// The template of a model folder (<c>chat_template.jinja</c>, or <c>chat_template</c> in <c>tokenizer_config.json</c>); null if it has
    /// none.
    /// </summary>
    /// <exception cref="CheckpointException">It uses an unsupported feature, or a file is damaged.</exception>
    public static ChatTemplate? ReadOfModel(string modelDirectory)
    {
        // Errors name it, also to the clients of a server, whom it does not concern where the model is.
        var model = Path.GetFileName(Path.TrimEndingDirectorySeparator(modelDirectory));
        var file = Path.Combine(modelDirectory, "chat_template.jinja");
        if (File.Exists(file))
            return new ChatTemplate(Utf8TextReader.ReadFile(file), $"{model}/{Path.GetFileName(file)}");
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
            JsonValueKind.String => new ChatTemplate(node.GetString()!, $"{model}/{Path.GetFileName(config)}"),
            JsonValueKind.Array => ChooseFromList(node, $"{model}/{Path.GetFileName(config)}"),
            JsonValueKind.Null => null,
            _ => throw new CheckpointException(
                $"{config}: chat_template is {node.ValueKind}, but it must be a string or a list of named templates."
            ),
        };
    }

    /// <summary>Makes a template from its text.</summary>
    /// <param name="source">Jinja.</param>
    /// <param name="origin">Where it comes from, for messages.</param>
    public static ChatTemplate Parse(string source, string origin) => new(source, origin);

    /// <summary>Whether the template has this word, so that it may use a field or a variable of this name.</summary>
    internal bool Mentions(string name) => Regex.IsMatch(Source, $@"(?<!\w){Regex.Escape(name)}(?!\w)", RegexOptions.CultureInvariant);

    /// <summary>What ends the answers that this template writes: training learns it, and generation stops at it.</summary>
    /// <param name="tokenizer">The model's tokenizer.</param>
    internal AnswerEnd FindEndOfAnswer(ITokenizer tokenizer) => new(_behindAnswer.Value, tokenizer);

    /// <summary>The conversation as the model reads it.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="tokenizer">Provides the text of BOS and EOS.</param>
    /// <param name="addGenerationPrompt">Whether to end with the text that comes before the model's next answer.</param>
    /// <param name="tools">The tools that the model may call, as a list in OpenAI's format; null for none.</param>
    /// <exception cref="DataException">The template refuses the conversation.</exception>
    internal RenderedChat Render(
        IReadOnlyList<ChatMessage> messages,
        ITokenizer tokenizer,
        bool addGenerationPrompt = false,
        JsonElement? tools = null
    )
    {
        var text = Render(
            messages,
            WriteToken(tokenizer, tokenizer.BosTokenId),
            WriteToken(tokenizer, tokenizer.EosTokenId),
            addGenerationPrompt,
            tools,
            out var generated
        );
        return new RenderedChat(
            text,
            generated.Count > 0 ? KeepLearned(generated, text, messages) : FindAnswers(text, messages, tokenizer)
        );
    }

    /// <summary>The conversation as a model reads it that answers or continues it.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="tokenizer">Provides the text of BOS and EOS.</param>
    /// <param name="form">How it is written.</param>
    /// <exception cref="DataException">The template refuses the conversation, or does not know a variable.</exception>
    internal RenderedChat Render(IReadOnlyList<ChatMessage> messages, ITokenizer tokenizer, ConversationForm form)
    {
        foreach (var name in form.Variables.Keys.Except(Variables))
            throw new DataException(
                $"Cannot give the chat template '{name}' because it has no such variable. {DescribeVariables()} Leave it out."
            );
        var text = Render(
            messages,
            WriteToken(tokenizer, tokenizer.BosTokenId),
            WriteToken(tokenizer, tokenizer.EosTokenId),
            form.AddGenerationPrompt && !form.ContinueFinalMessage,
            form.Tools,
            out _,
            form.Variables
        );
        if (!form.ContinueFinalMessage)
            return new RenderedChat(text, []);
        var end = text.Length;
        while (end > 0 && text.GetOwner(end - 1) != Math.Min(messages.Count, short.MaxValue))
            end--;
        if (messages[^1].Role != ChatMessage.Assistant || end == 0)
            throw new DataException(
                "Cannot continue the last message because it is not a text of the assistant. Add one, or ask for an answer."
            );
        return new RenderedChat(text.Slice(0, end), []);
    }

    /// <summary>Variables of the template that the caller may set, such as <c>enable_thinking</c>.</summary>
    internal IReadOnlyList<string> Variables { get; }

    /// <summary>The same template with other values of its variables wherever it is rendered.</summary>
    /// <param name="settings">NAME=VALUE. A value is JSON, such as false or 2, or a text.</param>
    /// <exception cref="ConfigurationException">One has another form, or the template has no such variable.</exception>
    internal ChatTemplate With(IReadOnlyList<string> settings)
    {
        if (settings.Count == 0)
            return this;
        var values = new Dictionary<string, JsonElement>(_variables);
        foreach (var (name, value) in TemplateSettings.Read(settings))
        {
            if (!Variables.Contains(name))
                throw new ConfigurationException(
                    $"Cannot set '{name}' because the chat template of {Origin} has no such variable. {DescribeVariables()}"
                        + NearestName.Hint(name, Variables)
                );
            values[name] = value;
        }
        return new ChatTemplate(Source, Origin, values);
    }

    /// <summary>A sentence about the variables.</summary>
    internal string DescribeVariables() => Variables.Count == 0 ? "It has none." : $"Its variables are {string.Join(", ", Variables)}.";

    // Messages that the template would not write whole, in a form in which it does: the reasoning at the start of the text, between marks
    // that the template does not recognize.
    private static List<ChatMessage> HideReasoning(IReadOnlyList<ChatMessage> messages, MarkedText text) =>
        [
            .. messages.Select(
                (m, i) =>
                    m is { Role: ChatMessage.Assistant, IsLearned: true } && UnwrittenText.Count(m, (short)(i + 1), text).Unwritten > 0
                        ? ReasoningFields.Hide(m)
                        : m
            ),
        ];

    /// <summary>The conversation with the reasoning of its answers, also where the template leaves it out.</summary>
    /// <param name="messages">The messages.</param>
    /// <param name="tokenizer">Provides the text of BOS and EOS.</param>
    /// <param name="tools">The tools that the model may call, as a list in OpenAI's format; null for none.</param>
    /// <exception cref="DataException">The template refuses the conversation.</exception>
    internal RenderedChat RenderReasoning(IReadOnlyList<ChatMessage> messages, ITokenizer tokenizer, JsonElement? tools = null)
    {
        if (!KnowsReasoning)
            return Render(messages, tokenizer, tools: tools);
        var (bos, eos) = (WriteToken(tokenizer, tokenizer.BosTokenId), WriteToken(tokenizer, tokenizer.EosTokenId));
        var text = Render(messages, bos, eos, false, tools, out _);
        var hidden = HideReasoning(messages, text);
        text = Render(hidden, bos, eos, false, tools, out var generated);
        text = text.With(ReasoningFields.Show(text.Text));
        return new RenderedChat(text, generated.Count > 0 ? KeepLearned(generated, text, hidden) : FindAnswers(text, hidden, tokenizer));
    }

    /// <summary>Whether the template has the marks around reasoning, so that answers can be written with it.</summary>
    internal bool KnowsReasoning => Source.Contains(ReasoningFields.End, StringComparison.Ordinal);

    // A block of the template that wrote any text of a message which is not learned is not learned either, nor one without an answer.
    private static List<(int Start, int End)> KeepLearned(
        List<(int Start, int End)> generated,
        MarkedText text,
        IReadOnlyList<ChatMessage> messages
    )
    {
        var owned = FindOwned(text);
        bool IsLearned((int Start, int End) block) =>
            owned.TrueForAll(o => o.Owner == Tools || messages[o.Owner - 1].IsLearned || o.End <= block.Start || o.Start >= block.End);
        bool HasAnswer((int Start, int End) block) =>
            owned.Exists(o =>
                Math.Max(o.Start, block.Start) is var start
                && Math.Min(o.End, block.End) is var end
                && start < end
                && !text.Text.AsSpan(start, end - start).IsWhiteSpace()
            );
        var hasBlank = messages.Any(m => m.Role == ChatMessage.Assistant && string.IsNullOrWhiteSpace(m.Content));
        return generated.FindAll(block => IsLearned(block) && (!hasBlank || HasAnswer(block)));
    }

    private static ChatTemplate? ChooseFromList(JsonElement list, string config)
    {
        foreach (var item in list.EnumerateArray())
        {
            if (
                item.ValueKind == JsonValueKind.Object
                && item.TryGetProperty("name", out var name)
                && name is { ValueKind: JsonValueKind.String }
                && name.ValueEquals("default")
                && item.TryGetProperty("template", out var template)
                && template.ValueKind == JsonValueKind.String
            )
                return new ChatTemplate(template.GetString()!, config);
        }
        return null;
    }

    private static string WriteToken(ITokenizer tokenizer, int? id) => id is { } token ? tokenizer.Decode([token], skipSpecial: false) : "";

    private MarkedText Render(
        IReadOnlyList<ChatMessage> messages,
        string bos,
        string eos,
        bool addGenerationPrompt,
        JsonElement? tools,
        out List<(int Start, int End)> generated,
        IReadOnlyDictionary<string, JsonElement>? variables = null
    )
    {
        try
        {
            var values = new Dictionary<string, object?>(
                _variables
                    .Where(v => variables?.ContainsKey(v.Key) != true)
                    .Concat(variables ?? s_none)
                    .ToDictionary(v => v.Key, v => JinjaJson.Read(v.Value, MarkedText.Template))
            )
            {
                ["messages"] = messages.Select(object? (m, i) => ToValue(m, (short)Math.Min(i + 1, short.MaxValue))).ToList(),
                ["bos_token"] = MarkedText.Of(bos),
                ["eos_token"] = MarkedText.Of(eos),
                ["add_generation_prompt"] = addGenerationPrompt,
                ["tools"] = tools is { } list ? JinjaJson.Read(list, Tools) : null,
                ["documents"] = null,
            };
            if (tools is { } tagged)
                values["xml_tools"] = JinjaJson.Read(tagged, Tools); // SmolLM3's name for them
            using var limit = JinjaWork.Limit(messages.Count, CountCharacters(messages, tools, variables ?? s_none));
            return _template.Render(values, out generated);
        }
        catch (JinjaException e)
        {
            throw new DataException($"{Origin}: {e.Message}", e);
        }
    }

    private static long CountCharacters(
        IReadOnlyList<ChatMessage> messages,
        JsonElement? tools,
        IReadOnlyDictionary<string, JsonElement> variables
    ) =>
        messages.Sum(m => m.Content.Length + (m.Further?.Values.Sum(CountCharacters) ?? 0))
        + (tools is { } list ? CountCharacters(list) : 0)
        + variables.Values.Sum(CountCharacters);

    private static long CountCharacters(JsonElement json) => JsonMarshal.GetRawUtf8Value(json).Length;

    private Dictionary<string, object?> ToValue(ChatMessage message, short owner)
    {
        if (!WritesToolCalls)
            message = ToolCalls.MoveToContent(message, TagsToolCalls);
        var value = new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["role"] = MarkedText.Of(message.Role),
            ["content"] = MarkedText.Of(message.Content, owner),
        };
        foreach (var (name, member) in message.Further ?? new Dictionary<string, JsonElement>())
            value[name] = JinjaJson.Read(member, owner);
        return value;
    }

    // An answer starts where the model starts to write, after the prompt for it, and ends with what ends answers.
    private List<(int Start, int End)> FindAnswers(MarkedText text, IReadOnlyList<ChatMessage> messages, ITokenizer tokenizer)
    {
        var answers = new List<(int, int)>();
        var (before, endOfAnswer) = (0, FindEndOfAnswer(tokenizer));
        var owned = FindOwned(text);
        for (var i = 0; i < owned.Count; i++)
        {
            var (owner, start, end) = owned[i];
            if (
                owner != Tools
                && messages[owner - 1] is { Role: ChatMessage.Assistant, IsLearned: true }
                && !text.Text.AsSpan(start, end - start).IsWhiteSpace()
            )
            {
                var prompt = _generationPrompt.Value;
                var at = prompt.Length > 0 ? text.Text.LastIndexOf(prompt, start, start - before, StringComparison.Ordinal) : -1;
                var next = i + 1 < owned.Count ? owned[i + 1].Start : text.Length;
                answers.Add((at >= before ? at + prompt.Length : start, endOfAnswer.Find(text, end, next)));
            }
            before = end;
        }
        return answers;
    }

    // First and last character of the text from each message, in the order of the text.
    private static List<(short Owner, int Start, int End)> FindOwned(MarkedText text)
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

    // What a template writes to ask for an answer, found by rendering a conversation of one word. It is empty if the template always or
    // never writes it.
    private string FindGenerationPrompt()
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

    // What comes after an answer of one word; empty if the template refuses such a conversation.
    private string RenderBehindAnswer()
    {
        const string said = "said";
        try
        {
            var text = Render([new("user", "x"), new(ChatMessage.Assistant, said)], "", AnswerEnd.Eos, false, null, out _).Text;
            return text.LastIndexOf(said, StringComparison.Ordinal) is >= 0 and var at ? text[(at + said.Length)..] : "";
        }
        catch (DataException)
        {
            return "";
        }
    }

    [GeneratedRegex(@"['""](tool|tool_results)['""]")]
    private static partial Regex RoleOfResults();

    [GeneratedRegex(@"(\.role|\[['""]role['""]\])\s*[+~]")]
    private static partial Regex WrittenRole();

    [GeneratedRegex(@"\b(xml_)?tools\b")]
    private static partial Regex ToolsVariable();
}
