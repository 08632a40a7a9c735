using System.Text;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Generation.Structured;
using LongLora.Runtime;
using Microsoft.Extensions.AI;
using TemplateMessage = LongLora.Tokenization.ChatMessage;

namespace LongLora.Extensions.AI;

/// <summary>A call in the model's own terms.</summary>
/// <param name="Messages">The conversation as templates take it.</param>
/// <param name="Options">How to answer.</param>
/// <param name="Tools">Tools that the answer may call; null for none.</param>
/// <param name="Format">Form of an answer that calls nothing; null for free text.</param>
internal sealed record ChatRequest(
    IReadOnlyList<TemplateMessage> Messages,
    GenerationOptions Options,
    ToolUse? Tools,
    ChatResponseFormatJson? Format
)
{
    internal static ChatRequest Read(
        IEnumerable<ChatMessage> messages,
        ChatOptions? options,
        GenerationOptions defaults,
        string modelName,
        IChatClient client
    )
    {
        ArgumentNullException.ThrowIfNull(messages);
        Refuse(options, modelName);
        var names = new Dictionary<string, string>(StringComparer.Ordinal);
        var read = messages.SelectMany(message => Read(message, names).ToList()).ToList();
        if (options?.Instructions is { Length: > 0 } instructions)
        {
            // One system message: many templates refuse a second one.
            if (read.Count > 0 && read[0].Role == ChatRole.System.Value)
                read[0] = read[0] with { Content = instructions + "\n\n" + read[0].Content };
            else
                read.Insert(0, new TemplateMessage(ChatRole.System.Value, instructions));
        }
        var generation = Read(options, defaults, client);
        generation.Validate();
        return new ChatRequest(read, generation, ReadTools(options), options?.ResponseFormat as ChatResponseFormatJson);
    }

    private static ToolUse? ReadTools(ChatOptions? options)
    {
        if (options?.Tools is not { Count: > 0 } tools || options.ToolMode is NoneChatToolMode)
            return options?.ToolMode is RequiredChatToolMode
                ? throw new NotSupportedException("A tool is required and there is none; add tools to the options.")
                : null;
        var functions = tools.Select(tool =>
            tool is AIFunctionDeclaration function
                ? ToolDefinition.Create(function.Name, function.Description, function.JsonSchema)
                : throw new NotSupportedException(
                    $"The tool '{tool.Name}' is a {tool.GetType().Name}; a LongLora model calls functions alone, which the application "
                        + "runs."
                )
        );
        var required = options.ToolMode as RequiredChatToolMode;
        return new ToolUse([.. functions], required is not null, options.AllowMultipleToolCalls ?? true)
        {
            Only = required?.RequiredFunctionName,
        };
    }

    private static GenerationOptions Read(ChatOptions? options, GenerationOptions defaults, IChatClient client)
    {
        if (options is null)
            return defaults;
        var start = options.RawRepresentationFactory?.Invoke(client) switch
        {
            null => defaults,
            GenerationOptions own => own,
            var other => throw new NotSupportedException(
                $"{nameof(ChatOptions.RawRepresentationFactory)} gives {other.GetType()}; a LongLora model takes "
                    + $"{typeof(GenerationOptions)}."
            ),
        };
        return start with
        {
            MaxTokens = options.MaxOutputTokens ?? start.MaxTokens,
            Temperature = options.Temperature ?? start.Temperature,
            TopP = options.TopP ?? start.TopP,
            TopK = options.TopK ?? start.TopK,
            Seed = options.Seed ?? start.Seed,
            FrequencyPenalty = options.FrequencyPenalty ?? start.FrequencyPenalty,
            PresencePenalty = options.PresencePenalty ?? start.PresencePenalty,
            Stop = options.StopSequences is { } stop ? [.. stop] : start.Stop,
        };
    }

    // What is asked for and cannot be given is said, never dropped. Permissions, such as parallel calls of tools, ask for nothing.
    private static void Refuse(ChatOptions? options, string modelName)
    {
        if (options is null)
            return;
        var refused = new List<string>();
        void Check(bool given, string what)
        {
            if (given)
                refused.Add(what);
        }

        Check(
            options.ResponseFormat is not (null or ChatResponseFormatText or ChatResponseFormatJson),
            $"a response format of type {options.ResponseFormat?.GetType().Name}"
        );
        Check(
            options.ConversationId is not null,
            "a conversation id: it keeps no conversations; give all messages each time, what was read is not read again"
        );
#pragma warning disable MEAI001 // an experimental property is asked all the same, so that nothing is dropped
        Check(options.ContinuationToken is not null, "a continuation token: it has no background responses");
#pragma warning restore MEAI001
        Check(
            options.Reasoning?.Output is ReasoningOutput.Full or ReasoningOutput.Summary,
            "reasoning as an output of its own: what a model thinks is in its text"
        );
        Check(options.Reasoning?.Effort is not (null or ReasoningEffort.None), "an effort of reasoning: ask for it in the message");
        Check(options.ModelId is { } id && id != modelName, $"the model '{options.ModelId}': there is one, '{modelName}'");
        Check(
            options.AdditionalProperties is { Count: > 0 },
            $"additional properties ({string.Join(", ", options.AdditionalProperties?.Keys ?? [])}): "
                + $"give {nameof(GenerationOptions)} by {nameof(ChatOptions.RawRepresentationFactory)}"
        );
        if (refused.Count > 0)
            throw new NotSupportedException($"A local LongLora model does not support {string.Join("; nor ", refused)}.");
    }

    // A message with several results of tools is several messages of a conversation.
    private static IEnumerable<TemplateMessage> Read(ChatMessage message, Dictionary<string, string> names)
    {
        StringBuilder text = new(),
            reasoning = new();
        var calls = new List<object>();
        var results = new List<TemplateMessage>();
        foreach (var content in message.Contents)
        {
            switch (content)
            {
                case TextReasoningContent thought:
                    reasoning.Append(thought.Text);
                    break;
                case TextContent said:
                    text.Append(said.Text);
                    break;
                case DataContent data when data.HasTopLevelMediaType("text"):
                    text.Append(Decode(data));
                    break;
                case DataContent data:
                    throw new NotSupportedException(
                        $"A message has data of type {data.MediaType}; a LongLora model reads text. LongLora.Documents makes text of "
                            + $"PDF, Word and HTML."
                    );
                case FunctionCallContent call:
                    names[call.CallId] = call.Name;
                    var function = new { name = call.Name, arguments = call.Arguments ?? new Dictionary<string, object?>() };
                    calls.Add(
                        new
                        {
                            id = call.CallId,
                            type = "function",
                            function,
                        }
                    );
                    break;
                case FunctionResultContent result:
                    results.Add(Result(result, names));
                    break;
                case UsageContent:
                    break; // the bookkeeping of an earlier answer
                default:
                    throw new NotSupportedException($"A message has {content.GetType().Name}; a LongLora model reads text alone.");
            }
        }
        var further = new Dictionary<string, JsonElement>();
        // Under the name by which templates of models that reason know it.
        if (reasoning.Length > 0)
            further["reasoning_content"] = JsonSerializer.SerializeToElement(reasoning.ToString());
        if (calls.Count > 0)
            further["tool_calls"] = JsonSerializer.SerializeToElement(calls, AIJsonUtilities.DefaultOptions);
        if (results.Count == 0 || text.Length > 0 || further.Count > 0)
            yield return new TemplateMessage(message.Role.Value, text.ToString()) { Further = further.Count == 0 ? null : further };
        foreach (var result in results)
            yield return result;
    }

    private static TemplateMessage Result(FunctionResultContent result, Dictionary<string, string> names)
    {
        var text = result.Result switch
        {
            null when result.Exception is { } fault => $"Error: {fault.Message}",
            null => "null",
            string said => said,
            JsonElement { ValueKind: JsonValueKind.String } said => said.GetString()!,
            TextContent said => said.Text,
            var other => JsonSerializer.Serialize(other, AIJsonUtilities.DefaultOptions),
        };
        var further = new Dictionary<string, JsonElement> { ["tool_call_id"] = JsonSerializer.SerializeToElement(result.CallId) };
        if (names.TryGetValue(result.CallId, out var name))
            further["name"] = JsonSerializer.SerializeToElement(name);
        return new TemplateMessage(ChatRole.Tool.Value, text) { Further = further };
    }

    private static string Decode(DataContent data)
    {
        try
        {
            return new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true).GetString(data.Data.Span);
        }
        catch (DecoderFallbackException e)
        {
            throw new DataException($"A message has data of type {data.MediaType} that is not UTF-8: {e.Message}", e);
        }
    }
}
