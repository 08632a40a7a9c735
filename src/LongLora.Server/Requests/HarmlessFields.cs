using System.Text.Json;

namespace LongLora.Server;

/// <summary>Fields of OpenAI's and other servers' APIs that make no difference here, or only with some values.</summary>
internal static class HarmlessFields
{
    /// <summary>Fields that every endpoint with answers accepts.</summary>
    internal static void Accept(RequestFields fields)
    {
        fields.Accept(
            "user",
            "metadata",
            "service_tier",
            "safety_identifier",
            "prompt_cache_key",
            "prompt_cache_retention",
            "request_id",
            "priority",
            "cache_prompt"
        );
        fields.Refuse("store", v => v.ValueKind == JsonValueKind.False, "this server keeps no answers. Leave it out.");
        fields.Refuse("skip_special_tokens", v => v.ValueKind == JsonValueKind.True, "answers never contain special tokens. Leave it out.");
        fields.Refuse("include_stop_str_in_output", v => v.ValueKind == JsonValueKind.False, "answers never contain what ended them.");
        fields.Refuse(
            "modalities",
            v =>
                v.ValueKind == JsonValueKind.Array
                && v.EnumerateArray().All(m => m.ValueKind == JsonValueKind.String && m.ValueEquals("text")),
            "answers are text."
        );
    }

    /// <summary>Accepts a verbosity only in the middle, which is that of a model without such a setting.</summary>
    internal static void ReadVerbosity(RequestFields fields) =>
        fields.Refuse("verbosity", v => v.ValueKind == JsonValueKind.String && v.ValueEquals("medium"), "the model has no such setting.");

    /// <summary>Fields that ask for calls of functions or for JSON.</summary>
    internal static void RefuseStructure(RequestFields fields)
    {
        const string why = "this endpoint calls no functions. Use /v1/chat/completions.";
        fields.Refuse("tools", IsEmpty, why);
        fields.Refuse("tool_choice", IsNoChoice, why);
        fields.Accept("parallel_tool_calls");
        fields.Refuse("response_format", IsText, "answers of this endpoint are plain text. Use /v1/chat/completions.");
        RefuseFunctions(fields);
    }

    /// <summary>Fields that asked for calls before there were tools.</summary>
    internal static void RefuseFunctions(RequestFields fields)
    {
        fields.Refuse("functions", IsEmpty, "functions are given as tools.");
        fields.Refuse("function_call", IsNoChoice, "functions are given as tools. Use tool_choice.");
    }

    private static bool IsEmpty(JsonElement value) => value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0;

    private static bool IsNoChoice(JsonElement value) =>
        value.ValueKind == JsonValueKind.String && (value.ValueEquals("none") || value.ValueEquals("auto"));

    /// <summary>Whether a format is that of plain text.</summary>
    internal static bool IsText(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object
        && value.TryGetProperty("type", out var type)
        && type.ValueKind == JsonValueKind.String
        && type.ValueEquals("text");

    /// <summary>Reads <c>stream_options</c>: whether the stream ends with the numbers of tokens.</summary>
    internal static bool ReadStreamOptions(RequestFields fields)
    {
        if (fields.FindFields("stream_options") is not { } options)
            return false;
        options.Accept("include_obfuscation");
        var usage = options.FindSwitch("include_usage") ?? false;
        options.RefuseUnknown();
        return usage;
    }
}
