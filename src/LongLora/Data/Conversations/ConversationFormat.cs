using System.Runtime.InteropServices;
using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// Reads records as conversations in any of the usual layouts: <c>messages</c> (OpenAI: <c>role</c>, <c>content</c>), <c>conversations</c>
/// (ShareGPT: <c>from</c>, <c>value</c>), <c>instruction</c>, <c>input</c>, <c>output</c> (Alpaca, LongAlpaca), <c>instruction</c> with
/// <c>instances</c> (Self-Instruct), <c>prompt</c> and <c>completion</c>.
/// </summary>
internal sealed class ConversationFormat
{
    private const string FunctionCall = "function_call";
    private const string Layouts =
        "messages; conversations; instruction, input and output; instruction and instances; prompt and completion";

    private static readonly string[] s_names =
    [
        "messages",
        "conversations",
        "role",
        "content",
        "from",
        "value",
        "system",
        "tools",
        "instruction",
        "input",
        "output",
        "history",
        "instances",
        "prompt",
        "completion",
    ];

    private static readonly Dictionary<string, string> s_roles = new(StringComparer.OrdinalIgnoreCase)
    {
        ["human"] = "user",
        ["gpt"] = ChatMessage.Assistant,
        ["chatgpt"] = ChatMessage.Assistant,
        ["bing"] = ChatMessage.Assistant,
        ["bard"] = ChatMessage.Assistant,
        ["model"] = ChatMessage.Assistant,
        [FunctionCall] = ChatMessage.Assistant,
        ["observation"] = "tool",
        ["function"] = "tool",
        ["function_response"] = "tool",
        ["developer"] = "system",
    };

    private readonly Dictionary<string, string> _columns = s_names.ToDictionary(n => n);

    private readonly HashSet<string> _ignored;

    /// <summary>A format with other names for some fields.</summary>
    /// <param name="columns">Lines such as <c>output=answer</c>: the field output here is called answer in the data.</param>
    /// <param name="ignored">Fields of records and messages that are not looked at; null for none.</param>
    /// <exception cref="ConfigurationException">A line is not such a pair, or the name on its left is unknown.</exception>
    public ConversationFormat(IReadOnlyList<string>? columns = null, IReadOnlyList<string>? ignored = null)
    {
        _ignored = [.. ignored ?? []];
        foreach (var line in columns ?? [])
        {
            var at = line.IndexOf('=', StringComparison.Ordinal);
            if (at <= 0 || at == line.Length - 1)
                throw new ConfigurationException($"columns has '{line}', which is not name=column. Write it like output=answer.");
            var name = line[..at].Trim();
            if (!_columns.ContainsKey(name))
                throw new ConfigurationException(
                    $"columns has '{line}', but the name on the left must be one of "
                        + $"{string.Join(", ", s_names)}.{NearestName.Hint(name, s_names)}"
                );
            _columns[name] = line[(at + 1)..].Trim();
        }
    }

    /// <summary>The conversations in a record: one, or for Self-Instruct one per instance.</summary>
    /// <exception cref="DataException">
    /// The record has none of the layouts, or a field has a wrong type. The message lists the fields of the record.
    /// </exception>
    public IEnumerable<Conversation> Read(DataRecord record)
    {
        // Fields that only a template reads are looked at here too.
        if (!WholeJson.IsWhole(JsonMarshal.GetRawUtf8Value(record.Value)))
            throw new DataException(
                $"{record.Origin}: a text is not valid Unicode: it contains half of a character, such as \\ud83d alone."
            );
        try
        {
            return Parse(record.Value, record.Origin);
        }
        catch (InvalidOperationException e)
        {
            // Half a surrogate pair, written as an escape: JSON allows it, Unicode does not.
            throw new DataException($"{record.Origin}: a text is not valid Unicode: {e.Message}", e);
        }
    }

    private List<Conversation> Parse(JsonElement json, string origin)
    {
        MessageFields.RequireUsual(json, _ignored, origin);
        foreach (var name in (string[])["messages", "conversations"])
        {
            if (FindMember(json, name) is { } messages)
                return [ReadConversation(messages, name, json, origin)];
        }
        if (FindMember(json, "instruction") is { } instruction)
        {
            if (FindMember(json, "instances") is { } instances)
                return [.. ReadItems(instances, "instances", origin).Select(i => ReadAlpaca(instruction, i, json, origin))];
            if (FindMember(json, "output") is not null)
                return [ReadAlpaca(instruction, json, json, origin)];
            if (json.TryGetProperty(_columns["output"], out _))
                throw new DataException(
                    $"{origin}: '{_columns["output"]}' is null, but it must be a string. Remove records without an answer."
                );
        }
        if (FindMember(json, "prompt") is { } prompt && FindMember(json, "completion") is { } completion)
            return [ReadPromptAndCompletion(prompt, completion, json, origin)];
        throw new DataException(
            $"{origin}: this record is not a conversation. Its fields are {string.Join(", ", json.EnumerateObject().Select(p => p.Name))}. "
                + $"The expected fields are {Layouts}. {Advise(json)}"
        );
    }

    // Suggests a layout whose fields exist under other names.
    private static string Advise(JsonElement json)
    {
        var present = json.EnumerateObject().Select(p => p.Name).ToHashSet(StringComparer.Ordinal);
        if (present.SetEquals(["text"]) || (present.Contains("text") && present.Count == 2))
            return "It is plain text, so use longlora train.";
        (string Ours, string[] Theirs)[] known =
        [
            ("instruction", ["question", "query", "problem", "user", "instruct", "Question"]),
            ("output", ["answer", "response", "solution", "target", "assistant", "Answer"]),
            ("input", ["context", "document", "passage"]),
            ("messages", ["dialog", "dialogue", "conversation", "chat"]),
        ];
        var pairs = known
            .Select(k => (k.Ours, Column: Array.Find(k.Theirs, present.Contains)))
            .Where(k => k.Column is not null)
            .Select(k => $"{k.Ours}={k.Column}")
            .ToList();
        return pairs.Count > 0
            ? $"Map the fields, perhaps with --columns {string.Join(' ', pairs)}"
            : "Map the fields with --columns, such as --columns instruction=question output=answer.";
    }

    private Conversation ReadAlpaca(JsonElement instruction, JsonElement instance, JsonElement json, string origin)
    {
        var (question, input) = (ReadText(instruction, "instruction", origin), ReadOptionalText(instance, "input", origin) ?? "");
        var messages = new List<ChatMessage>();
        if (ReadOptionalText(json, "system", origin) is { Length: > 0 } system)
            messages.Add(new ChatMessage("system", system));
        if (FindMember(json, "history") is { } history)
        {
            foreach (var pair in ReadItems(history, "history", origin).Select(t => ReadItems(t, "history", origin).ToList()))
            {
                if (pair.Count != 2)
                    throw new DataException($"{origin}: 'history' must be a list of pairs of a question and an answer.");
                messages.Add(new ChatMessage("user", ReadText(pair[0], "history", origin)));
                messages.Add(new ChatMessage(ChatMessage.Assistant, ReadText(pair[1], "history", origin)));
            }
        }
        var content =
            input.Length == 0 ? question
            : question.Length == 0 ? input
            : $"{question}\n{input}";
        // Some templates write instruction and input separately.
        messages.Add(
            new ChatMessage("user", content)
            {
                Further = new Dictionary<string, JsonElement>
                {
                    ["instruction"] = instruction.Clone(),
                    ["input"] = JsonSerializer.SerializeToElement(input),
                },
            }
        );
        var answer = FindMember(instance, "output") ?? throw new DataException($"{origin}: an instance has no '{_columns["output"]}'.");
        messages.Add(new ChatMessage(ChatMessage.Assistant, ReadText(answer, "output", origin)));
        return new Conversation(messages, origin);
    }

    private Conversation ReadConversation(JsonElement list, string name, JsonElement json, string origin)
    {
        var messages = RequireAnswer(ReadMessages(list, name, json, origin));
        // Two answers, one of them rejected, to a question that stands alone: learning from preferences.
        if (
            json.TryGetProperty("rejected", out var rejected)
            && rejected.ValueKind != JsonValueKind.Null
            && messages.LastOrDefault()?.Role != ChatMessage.Assistant
        )
            throw new DataException(
                $"{origin}: 'rejected' of a record asks to learn from preferences, which sft does not do. Put the answer to learn at "
                    + $"the end of '{_columns[name]}'."
            );
        return new Conversation(messages, origin) { Tools = ReadTools(json, origin) };
    }

    private Conversation ReadPromptAndCompletion(JsonElement prompt, JsonElement completion, JsonElement json, string origin)
    {
        if (prompt.ValueKind == JsonValueKind.Array && completion.ValueKind == JsonValueKind.Array)
            return new Conversation(
                // Answers in a prompt are only read, unless they say otherwise.
                RequireAnswer([
                    .. ReadMessages(prompt, "prompt", json, origin, isLearned: false),
                    .. ReadMessages(completion, "completion", default, origin),
                ]),
                origin
            )
            {
                Tools = ReadTools(json, origin),
            };
        return new Conversation(
            [new("user", ReadText(prompt, "prompt", origin)), new(ChatMessage.Assistant, ReadText(completion, "completion", origin))],
            origin
        )
        {
            IsPlain = true,
        };
    }

    // A list, or a string that contains one; or functions, as OpenAI called tools at first.
    private JsonElement? ReadTools(JsonElement json, string origin)
    {
        if (FindMember(json, "tools") is not { } tools)
            return
                json.TryGetProperty("functions", out var functions)
                && functions.ValueKind == JsonValueKind.Array
                && functions.GetArrayLength() > 0
                ? ToolCalls.WrapFunctions(functions)
                : null;
        if (tools is { ValueKind: JsonValueKind.String } && tools.GetString()!.Trim().Length == 0)
            return null;
        try
        {
            using var inside = tools.ValueKind == JsonValueKind.String ? WholeJson.Parse(tools.GetString()!) : null;
            return ReadItems(inside?.RootElement ?? tools, "tools", origin).Count > 0 ? (inside?.RootElement ?? tools).Clone() : null;
        }
        catch (JsonException e)
        {
            throw new DataException($"{origin}: '{_columns["tools"]}' is a string that does not contain a JSON list: {e.Message}", e);
        }
    }

    private List<ChatMessage> ReadMessages(JsonElement list, string name, JsonElement json, string origin, bool isLearned = true)
    {
        var messages = ReadItems(list, name, origin).Select(m => ReadMessage(m, origin, isLearned)).ToList();
        if (
            json.ValueKind == JsonValueKind.Object
            && ReadOptionalText(json, "system", origin) is { Length: > 0 } system
            && messages.FirstOrDefault()?.Role != "system"
        )
            messages.Insert(0, new ChatMessage("system", system));
        return messages;
    }

    // As published ShareGPT files are used: an answer without a question is left out.
    private static List<ChatMessage> RequireAnswer(List<ChatMessage> messages)
    {
        var first = messages.FindIndex(m => m.Role != "system");
        while (first >= 0 && first < messages.Count && messages[first].Role == ChatMessage.Assistant)
            messages.RemoveAt(first);
        return messages;
    }

    private ChatMessage ReadMessage(JsonElement json, string origin, bool isLearned)
    {
        if (json.ValueKind != JsonValueKind.Object)
            throw new DataException(
                $"{origin}: a message is {json.ValueKind}, but it must be an object with role and content, or with from and value."
            );
        var (roleName, contentName) = FindMember(json, "from") is not null ? ("from", "value") : ("role", "content");
        var role = FindMember(json, roleName) is { } r
            ? ReadText(r, roleName, origin)
            : throw new DataException(
                $"{origin}: a message has neither '{_columns["role"]}' nor '{_columns["from"]}'. Its fields are "
                    + $"{string.Join(", ", json.EnumerateObject().Select(p => p.Name))}."
            );
        var content = FindMember(json, contentName) is { } c ? ReadContent(c, origin) : "";
        string[] own = [_columns[roleName], _columns[contentName]];
        var further = json.EnumerateObject()
            .Where(p => !own.Contains(p.Name) && !_ignored.Contains(p.Name) && p.Value.ValueKind != JsonValueKind.Null)
            .ToDictionary(p => p.Name, p => p.Value.Clone());
        if (role.Equals(FunctionCall, StringComparison.OrdinalIgnoreCase) && ToolCalls.Parse(content) is { } calls)
            (content, further[ToolCalls.Member]) = ("", calls);
        else if (role.Equals(FunctionCall, StringComparison.OrdinalIgnoreCase) && ToolCalls.IsBroken(content))
            throw new DataException(
                $"{origin}: a tool call is '{MessageFields.Shorten(content)}', which is not JSON. Correct the record, or remove it."
            );
        ToolCalls.Normalize(further);
        if (further.TryGetValue(ToolCalls.Member, out var made) && ToolCalls.FindBroken(made) is { } broken)
            throw new DataException(
                $"{origin}: the arguments of a tool call are '{MessageFields.Shorten(broken)}', which is not JSON. Correct the record, or "
                    + "remove it."
            );
        var ours = s_roles.GetValueOrDefault(role, role.ToLowerInvariant());
        var wish = MessageFields.TakeLearned(further, ours, origin);
        return new ChatMessage(ours, content) { Further = further.Count > 0 ? further : null, IsLearned = wish ?? isLearned };
    }

    private string ReadContent(JsonElement json, string origin)
    {
        if (json.ValueKind != JsonValueKind.Array)
            return json.ValueKind == JsonValueKind.Null ? "" : ReadText(json, "content", origin);
        return string.Concat(
            json.EnumerateArray()
                .Select(part =>
                    part.ValueKind == JsonValueKind.Object
                    && part.TryGetProperty("type", out var type)
                    && type.ValueEquals("text"u8)
                    && part.TryGetProperty("text", out var text)
                        ? ReadText(RequirePlainPart(part, text, origin), "text", origin)
                        : throw new DataException($"{origin}: a message has a part that is not text, but this model reads only text.")
                )
        );
    }

    private JsonElement RequirePlainPart(JsonElement part, JsonElement text, string origin) =>
        part.EnumerateObject()
            .Where(p => p.Value.ValueKind is not JsonValueKind.Null && !_ignored.Contains(p.Name))
            .Select(p => p.Name)
            .FirstOrDefault(name => name is not ("type" or "text" or "cache_control" or "annotations" or "id" or "index"))
            is { } unknown
            ? throw new DataException(
                $"{origin}: a part of a message has the field '{unknown}', which is not supported and may decide what is learned. "
                    + $"Remove it, or list it in ignore-fields."
            )
            : text;

    private JsonElement? FindMember(JsonElement json, string name) =>
        json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty(_columns[name], out var value)
        && value.ValueKind != JsonValueKind.Null
            ? value
            : null;

    private string? ReadOptionalText(JsonElement json, string name, string origin) =>
        FindMember(json, name) is { } value ? ReadText(value, name, origin) : null;

    private List<JsonElement> ReadItems(JsonElement json, string name, string origin) =>
        json.ValueKind == JsonValueKind.Array
            ? [.. json.EnumerateArray()]
            : throw new DataException($"{origin}: '{_columns[name]}' is {json.ValueKind}, but it must be a list.");

    private string ReadText(JsonElement json, string name, string origin) =>
        json.ValueKind == JsonValueKind.String
            ? json.GetString()!
            : throw new DataException(
                $"{origin}: '{_columns.GetValueOrDefault(name, name)}' is {json.ValueKind}, but it must be a string."
            );
}
