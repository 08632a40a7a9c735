using System.Text;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;
using TemplateMessage = LongLora.Tokenization.ChatMessage;

namespace LongLora.Extensions.AI;

/// <summary>A call in the model's own terms.</summary>
/// <param name="Messages">The conversation as templates take it.</param>
/// <param name="Options">How to answer.</param>
internal sealed record ChatRequest(IReadOnlyList<TemplateMessage> Messages, GenerationOptions Options)
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
        var read = messages.Select(Read).ToList();
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
        return new ChatRequest(read, generation);
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

        Check(options.Tools is { Count: > 0 }, "tools: it calls none");
        Check(options.ToolMode is RequiredChatToolMode, "a required tool: it calls none");
        Check(
            options.ResponseFormat is not (null or ChatResponseFormatText),
            "a response format: its text is not bound to a schema; ask for JSON in the message and check it"
        );
        Check(
            options.ConversationId is not null,
            "a conversation id: it keeps no conversations; give all messages each time, what was read is not read again"
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

    private static TemplateMessage Read(ChatMessage message)
    {
        StringBuilder text = new(),
            reasoning = new();
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
                case UsageContent:
                    break; // the bookkeeping of an earlier answer
                default:
                    throw new NotSupportedException($"A message has {content.GetType().Name}; a LongLora model reads text alone.");
            }
        }
        return new TemplateMessage(message.Role.Value, text.ToString())
        {
            // Under the name by which templates of models that reason know it.
            Further =
                reasoning.Length == 0
                    ? null
                    : new Dictionary<string, JsonElement>
                    {
                        ["reasoning_content"] = JsonSerializer.SerializeToElement(reasoning.ToString()),
                    },
        };
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
