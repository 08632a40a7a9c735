using System.Text.Json;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>
/// The fields of messages and records beside their texts. Those that say what is learned are obeyed, those that say nothing about it are
/// known by name, and all others are refused: one of them may well decide what is learned.
/// </summary>
internal static class MessageFields
{
    /// <summary>Fields of a message that say whether it is learned. 1 and true mean yes, 0 and false mean no.</summary>
    /// <remarks>OpenAI has <c>weight</c>, Axolotl <c>train</c>, <c>training</c> and <c>weight</c>, ms-swift <c>loss</c>.</remarks>
    public static IReadOnlyList<string> OfLearning { get; } = ["weight", "train", "training", "loss"];

    // What publishers write beside a text: who, when, where, how long. Calls of tools and reasoning are read elsewhere.
    private static readonly HashSet<string> s_harmless =
    [
        .. ToolCalls.Members,
        .. ReasoningFields.Names,
        "refusal",
        "name",
        "instruction",
        "input",
        "id",
        "uuid",
        "_id",
        "message_id",
        "messageId",
        "parent_id",
        "parent",
        "conversation_id",
        "turn",
        "turn_id",
        "turn_identifier",
        "index",
        "idx",
        "type",
        "object",
        "timestamp",
        "time",
        "date",
        "created",
        "created_at",
        "createdAt",
        "create_time",
        "update_time",
        "updated_at",
        "author",
        "user",
        "user_id",
        "source",
        "model",
        "model_name",
        "provider",
        "lang",
        "language",
        "country",
        "state",
        "header",
        "hashed_ip",
        "toxic",
        "redacted",
        "tokens",
        "token_count",
        "num_tokens",
        "length",
        "usage",
        "finish_reason",
        "stop_reason",
        "annotations",
        "cache_control",
        "metadata",
        "meta",
        "hash",
        "url",
        "markdown",
    ];

    // Other media: nothing is read of them, so they must be empty.
    private static readonly string[] s_media = ["image", "images", "video", "videos", "audio", "audios", "file", "files"];

    // Fields of a record that say that it, or its questions, are learned in another way than others.
    private static readonly string[] s_ofRecord =
    [
        .. OfLearning,
        "mask",
        "loss_mask",
        "label",
        "kto_tag",
        "train_on_input",
        "train_on_inputs",
        "train_on_prompt",
        "completion_only_loss",
        "assistant_only_loss",
    ];

    /// <summary>Whether a message is learned, by its own fields; null if none says so.</summary>
    /// <param name="fields">The fields of the message; those of learning are removed.</param>
    /// <param name="role">The role of the message; only answers may ask to be learned.</param>
    /// <param name="origin">Where it comes from, for messages.</param>
    /// <exception cref="DataException">A value is neither yes nor no, two fields disagree, or a question asks to be learned.</exception>
    public static bool? TakeLearned(Dictionary<string, JsonElement> fields, string role, string origin)
    {
        (string Name, bool IsLearned)? first = null;
        foreach (var name in OfLearning)
        {
            if (!fields.Remove(name, out var value))
                continue;
            var isLearned = ReadYesOrNo(value)
                ?? throw new DataException(
                    $"{origin}: '{name}' of a message is {value.GetRawText()}, but it must be 0 or 1, or true or false. Parts of a weight "
                        + $"are not supported."
                );
            if (first is { } other && other.IsLearned != isLearned)
                throw new DataException($"{origin}: '{other.Name}' and '{name}' of a message disagree on whether it is learned.");
            if (isLearned && role != ChatMessage.Assistant)
                throw new DataException(
                    $"{origin}: '{name}' asks to learn a message of the role {role}, but only answers are learned. Remove the field there, "
                        + $"or list it in ignore-fields."
                );
            first ??= (name, isLearned);
        }
        return first?.IsLearned;
    }

    /// <summary>Refuses a record that asks for another way of learning than answers only.</summary>
    /// <param name="record">The record.</param>
    /// <param name="ignored">Fields that are not looked at.</param>
    /// <param name="origin">Where it comes from, for messages.</param>
    /// <exception cref="DataException">It has such a field; the message names it.</exception>
    public static void RequireUsual(JsonElement record, IReadOnlySet<string> ignored, string origin)
    {
        foreach (var field in record.EnumerateObject())
        {
            if (ignored.Contains(field.Name) || !s_ofRecord.Contains(field.Name) || field.Value.ValueKind == JsonValueKind.Null)
                continue;
            // A label is a class in many data sets; true and false rate an answer.
            var isUsual = field.Name switch
            {
                "label" => ReadYesOrNo(field.Value) is null || field.Value.ValueKind == JsonValueKind.Number,
                "train_on_input" or "train_on_inputs" or "train_on_prompt" => ReadYesOrNo(field.Value) is false,
                "completion_only_loss" or "assistant_only_loss" => ReadYesOrNo(field.Value) is true,
                _ => OfLearning.Contains(field.Name) && ReadYesOrNo(field.Value) is true,
            };
            if (!isUsual)
                throw new DataException(
                    $"{origin}: '{field.Name}' of a record is {Shorten(field.Value.GetRawText())}, which may decide what is learned and is "
                        + $"not supported. Remove the record or the field, or list the field in ignore-fields."
                );
        }
    }

    /// <summary>Refuses a message with a field of unknown meaning.</summary>
    /// <param name="message">The message.</param>
    /// <param name="template">The template that writes it; it may use any field. Null for none.</param>
    /// <param name="origin">Where it comes from, for messages.</param>
    /// <exception cref="DataException">It has such a field; the message names it.</exception>
    public static void RequireKnown(ChatMessage message, ChatTemplate? template, string origin)
    {
        foreach (var (name, value) in message.Further ?? new Dictionary<string, JsonElement>())
        {
            if (s_harmless.Contains(name) || template?.Mentions(name) == true || IsEmpty(value))
                continue;
            if (s_media.Contains(name))
                throw new DataException($"{origin}: a message has '{name}', but this model reads only text.");
            throw new DataException(
                $"{origin}: a message has the field '{name}', which is not known and may decide what is learned. Remove it, or list it in "
                    + $"ignore-fields if it does not.{NearestName.Hint(name, OfLearning)}"
            );
        }
    }

    private static bool IsEmpty(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Null => true,
            JsonValueKind.Array => value.GetArrayLength() == 0,
            JsonValueKind.Object => !value.EnumerateObject().Any(),
            JsonValueKind.String => value.GetString()!.Length == 0,
            _ => false,
        };

    private static bool? ReadYesOrNo(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Number => value.GetDouble() switch
            {
                0 => false,
                1 => true,
                _ => null,
            },
            _ => null,
        };

    /// <summary>The beginning of a text for a message.</summary>
    public static string Shorten(string text) => text.Length <= 40 ? text : text[..40] + "…";
}
