using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Generation.Structured;

/// <summary>Prepares conversations whose answers call tools or are bound to a schema. Thread-safe.</summary>
internal sealed class StructuredChat(ChatTemplate template, ITokenizer tokenizer)
{
    // Formats that are used again have their tables already.
    private const int MostKept = 16;
    private readonly List<(string Key, AnswerFormat Format)> _kept = [];
    private readonly Lazy<ToolCallFormat?> _calls = new(() => ToolCallFormat.Find(template, tokenizer));

    /// <summary>Reads a conversation.</summary>
    /// <param name="messages">The messages; calls and their results in OpenAI's form.</param>
    /// <param name="form">How it is written; its tools are those of the next argument.</param>
    /// <param name="tools">The tools; null for none.</param>
    /// <param name="schema">What an answer that calls nothing is bound to; null for free text.</param>
    /// <param name="isJson">Whether such an answer is any JSON object.</param>
    /// <param name="most">Most tokens; a conversation that has more is given up early.</param>
    /// <exception cref="ConfigurationException">A schema cannot be followed, or calls of this template cannot be read.</exception>
    /// <exception cref="DataException">The template refuses the conversation.</exception>
    /// <exception cref="TextTooLongException">It has more tokens.</exception>
    internal PreparedChat Prepare(
        IReadOnlyList<ChatMessage> messages,
        ConversationForm form,
        ToolUse? tools,
        JsonElement? schema,
        bool isJson = false,
        int most = int.MaxValue
    )
    {
        if (messages.Count == 0)
            throw new DataException("The conversation is empty; give at least one message.");
        if (tools is null || tools.Tools.Count == 0)
        {
            var format =
                schema is { } of ? Keep("schema " + of.GetRawText(), () => AnswerFormat.FromSchema(of))
                : isJson ? AnswerFormat.Json
                : null;
            return new(Encode(WithCalls(messages), form, most), format, null, false);
        }
        _ = tools.Callable;
        var calls = _calls.Value;
        if (!tools.IsRequired && (calls is null || template.HasChannels))
        {
            throw new ConfigurationException(
                $"Cannot leave the choice of tools to this model because {template.Origin} writes calls in a form that cannot be read "
                    + "back. Require a tool, name one, or give another template."
            );
        }
        calls ??= ToolCallFormat.Plain;
        if (isJson)
            schema ??= s_object;
        var key = $"{tools.Key} {schema?.GetRawText()}";
        var bound = Keep(key, () => calls.Bind(tools, schema, tokenizer));
        var described = template.WritesTools ? messages : Describe(messages, tools);
        return new(Encode(WithCalls(described), form with { Tools = tools.Source }, most), bound, calls, tools.IsRequired);
    }

    private static readonly JsonElement s_object = JsonDocument.Parse("""{"type":"object"}""").RootElement;

    private IReadOnlyList<int> Encode(IReadOnlyList<ChatMessage> messages, ConversationForm form, int most) =>
        template.Render(messages, tokenizer, form).Encode(tokenizer, most).Ids;

    private AnswerFormat Keep(string key, Func<AnswerFormat> make)
    {
        lock (_kept)
        {
            var at = _kept.FindIndex(k => k.Key == key);
            var found = at >= 0 ? _kept[at] : (key, make());
            if (at >= 0)
                _kept.RemoveAt(at);
            else if (_kept.Count == MostKept)
                _kept.RemoveAt(0);
            _kept.Add(found);
            return found.Item2;
        }
    }

    // A template that knows no tools leaves them out. They stand in the system message then, with the form of a call.
    private static List<ChatMessage> Describe(IReadOnlyList<ChatMessage> messages, ToolUse tools)
    {
        var text = new StringBuilder(
            "You may call functions. To call one, answer only with {\"name\": ..., \"arguments\": {...}}. Functions:"
        );
        foreach (var tool in tools.Tools)
            text.Append('\n').Append(tool.Source.TryGetProperty("function", out var function) ? function.GetRawText() : "");
        List<ChatMessage> described = [.. messages];
        if (described.Count > 0 && described[0].Role == "system")
            described[0] = described[0] with { Content = described[0].Content + "\n\n" + text };
        else
            described.Insert(0, new ChatMessage("system", text.ToString()));
        return described;
    }

    // A template without a role for results gets them from the user.
    private List<ChatMessage> WithResults(IReadOnlyList<ChatMessage> messages)
    {
        var written = new List<ChatMessage>();
        var isResult = false;
        foreach (var message in messages)
        {
            if (message.Role != "tool" || template.KnowsResults)
            {
                written.Add(message);
                isResult = false;
                continue;
            }
            var name = message.Further?.GetValueOrDefault("name") is { ValueKind: JsonValueKind.String } of ? $" of {of.GetString()}" : "";
            var text = $"Result{name}: {message.Content}";
            if (isResult)
                written[^1] = written[^1] with { Content = written[^1].Content + "\n" + text };
            else
                written.Add(new ChatMessage("user", text));
            isResult = true;
        }
        return written;
    }

    // Arguments become objects, and identifiers those of the template's form where it has one.
    private List<ChatMessage> WithCalls(IReadOnlyList<ChatMessage> messages) =>
        [
            .. WithResults(messages)
                .Select(message =>
                {
                    if (message.Further is not { } further)
                        return message;
                    var changed = further.ToDictionary();
                    if (changed.TryGetValue(ToolCalls.Member, out var calls))
                        changed[ToolCalls.Member] = ToolCalls.ParseArguments(Renamed(calls));
                    if (changed.TryGetValue("tool_call_id", out var id) && id.ValueKind == JsonValueKind.String)
                        changed["tool_call_id"] = JsonSerializer.SerializeToElement(Short(id.GetString()!));
                    return message with { Further = changed };
                }),
        ];

    private JsonElement Renamed(JsonElement calls)
    {
        if (calls.ValueKind != JsonValueKind.Array)
            return calls;
        return JsonSerializer.SerializeToElement(
            calls
                .EnumerateArray()
                .Select(call =>
                    call.ValueKind != JsonValueKind.Object
                        ? (object)call
                        : call.EnumerateObject()
                            .ToDictionary(
                                p => p.Name,
                                p =>
                                    p.Name == "id" && p.Value.ValueKind == JsonValueKind.String
                                        ? JsonSerializer.SerializeToElement(Short(p.Value.GetString()!))
                                        : p.Value
                            )
                )
        );
    }

    // Some templates refuse all identifiers but nine letters or digits.
    private string Short(string id)
    {
        if (_calls.Value?.HasIds != true || (id.Length == ToolCallFormat.IdLength && id.All(char.IsAsciiLetterOrDigit)))
            return id;
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes(id));
        return string.Concat(hash.Take(ToolCallFormat.IdLength).Select(b => ToolCallFormat.Letters[b % ToolCallFormat.Letters.Length]));
    }
}
