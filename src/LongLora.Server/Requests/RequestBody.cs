using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary>Reads the JSON body of a request.</summary>
internal static class RequestBody
{
    /// <summary>Reads it, and makes sure that every text in it is whole characters and no field is there twice.</summary>
    /// <exception cref="ApiException">It is not JSON, a text is not valid Unicode, or a field is there twice.</exception>
    internal static async Task<RequestFields> Read(HttpContext context)
    {
        if (!context.Request.HasJsonContentType())
            throw new ApiException(415, $"Content-Type is {context.Request.ContentType ?? "missing"}; it must be application/json.");
        try
        {
            using var document = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            var root = document.RootElement.Clone();
            RequireText(root, "");
            return new RequestFields(root);
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"Cannot read the body because it is not JSON: {e.Message}", code: "invalid_json");
        }
        catch (InvalidDataException e)
        {
            throw new ApiException(400, $"Cannot unpack the body because it is damaged: {e.Message}", code: "invalid_encoding");
        }
    }

    // The parser accepts bytes that are not UTF-8, and escapes of half a character. They show when a text is decoded.
    private static void RequireText(JsonElement value, string path)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                Decode(path, () => value.GetString());
                break;
            case JsonValueKind.Array:
                var index = 0;
                foreach (var item in value.EnumerateArray())
                    RequireText(item, $"{path}[{index++}]");
                break;
            case JsonValueKind.Object:
                var names = new HashSet<string>(StringComparer.Ordinal);
                foreach (var member in value.EnumerateObject())
                {
                    var name = Decode($"the name of a member{(path.Length > 0 ? " of " + path : "")}", () => member.Name);
                    var field = path.Length > 0 ? $"{path}.{name}" : name!;
                    if (!names.Add(name!))
                        throw new ApiException(400, $"{field} is there twice; it must be there once.", field, "duplicate_field");
                    RequireText(member.Value, field);
                }
                break;
        }
    }

    private static string? Decode(string path, Func<string?> decode)
    {
        try
        {
            return decode();
        }
        catch (InvalidOperationException)
        {
            throw new ApiException(
                400,
                $"Cannot read {(path.Length > 0 ? path : "the body")} because it is not valid Unicode: it contains half of a character, "
                    + @"such as \ud83d alone, or bytes that are not UTF-8. Send whole characters.",
                path,
                "invalid_unicode"
            );
        }
    }
}
