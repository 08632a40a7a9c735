using System.Runtime.InteropServices;
using System.Text.Json;
using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace LongLora.Server;

/// <summary>
/// Reads the JSON body of a request. A large body waits in a temporary file without a name until <see cref="BodyRoom"/> lets it in, so that
/// neither many clients nor slow ones fill the memory.
/// </summary>
internal static class RequestBody
{
    private const int PieceBytes = 64 << 10;

    /// <summary>
    /// Reads it, and makes sure that every text in it is whole characters and no field is there twice. What is made of it should hold on to
    /// little, since it stays while an answer waits and is generated.
    /// </summary>
    /// <param name="context">The request.</param>
    /// <param name="read">Makes what is wanted of the fields; it clones what it keeps, since each field holds the whole body.</param>
    /// <exception cref="ApiException">It is not JSON, a text is not valid Unicode, or a field is there twice.</exception>
    internal static async Task<T> Read<T>(HttpContext context, Func<RequestFields, T> read)
    {
        if (!context.Request.HasJsonContentType())
            throw new ApiException(415, $"Content-Type is {context.Request.ContentType ?? "missing"}; it must be application/json.");
        var room = context.RequestServices.GetRequiredService<BodyRoom>();
        var start = new MemoryStream();
        if (await Copy(context, start, BodyRoom.Small))
            return Parse(start.GetBuffer().AsMemory(0, (int)start.Length), read);
        room.Register();
        try
        {
            await using var file = ScratchFile.Create(Path.GetTempPath(), "body");
            start.Position = 0;
            await start.CopyToAsync(file, context.RequestAborted);
            start.SetLength(0);
            start.Capacity = 0;
            await Copy(context, file, long.MaxValue);
            return await room.Read(file.Length, () => ReadFile(file, read), context.RequestAborted);
        }
        finally
        {
            room.Unregister();
        }
    }

    // Gives whether the body has ended; false after more than a number of bytes.
    private static async Task<bool> Copy(HttpContext context, Stream target, long most)
    {
        var piece = new byte[PieceBytes];
        for (var copied = 0L; copied <= most; )
        {
            var count = await context.Request.Body.ReadAsync(piece, context.RequestAborted);
            if (count == 0)
                return true;
            await target.WriteAsync(piece.AsMemory(0, count), context.RequestAborted);
            copied += count;
        }
        return false;
    }

    private static T ReadFile<T>(FileStream file, Func<RequestFields, T> read)
    {
        // Not from a pool, which would keep it.
        var bytes = GC.AllocateUninitializedArray<byte>((int)file.Length);
        file.Position = 0;
        file.ReadExactly(bytes);
        return Parse(bytes, read);
    }

    private static T Parse<T>(ReadOnlyMemory<byte> bytes, Func<RequestFields, T> read)
    {
        JsonDocument document;
        if (bytes.Length == 0)
            throw new ApiException(400, "The body is empty; send a JSON object.", code: "invalid_json");
        // Some clients write the mark of UTF-8, which is no part of JSON.
        if (bytes.Span.StartsWith("\uFEFF"u8))
            bytes = bytes[3..];
        try
        {
            document = JsonDocument.Parse(bytes);
        }
        catch (JsonException e)
        {
            throw new ApiException(
                400,
                $"Cannot read the body because it is not JSON from line {e.LineNumber + 1}, byte {e.BytePositionInLine + 1} on. "
                    + "Send an object of at most 64 levels, without comments and without a comma behind the last member.",
                code: "invalid_json"
            );
        }
        // Never disposed of, so that what outlives the reading stays valid; it is memory of this program alone, without a pool's size.
        RequireText(document.RootElement, "");
        return read(new RequestFields(document.RootElement));
    }

    // The parser accepts bytes that are not UTF-8, and escapes of half a character. They show when a text is decoded.
    private static void RequireText(JsonElement value, string path)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String:
                // Not decoded: a text may have many megabytes.
                if (!WholeJson.IsWhole(JsonMarshal.GetRawUtf8Value(value)[1..^1]))
                    throw RefuseUnicode(path);
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
                    if (!WholeJson.IsWhole(JsonMarshal.GetRawUtf8PropertyName(member)))
                        throw RefuseUnicode($"the name of a member{(path.Length > 0 ? " of " + path : "")}");
                    var field = path.Length > 0 ? $"{path}.{member.Name}" : member.Name;
                    if (!names.Add(member.Name))
                        throw new ApiException(400, $"{field} is there twice; it must be there once.", field, "duplicate_field");
                    RequireText(member.Value, field);
                }
                break;
        }
    }

    private static ApiException RefuseUnicode(string path) =>
        new(
            400,
            $"Cannot read {(path.Length > 0 ? path : "the body")} because it is not valid Unicode: it contains half of a character, "
                + @"such as \ud83d alone, or bytes that are not UTF-8. Send whole characters.",
            path,
            "invalid_unicode"
        );
}
