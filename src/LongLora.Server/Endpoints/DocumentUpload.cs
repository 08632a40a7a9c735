using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace LongLora.Server;

/// <summary><c>POST /documents</c>: the text of a file, which is the body or one part of a form.</summary>
internal static class DocumentUpload
{
    internal static async Task<IResult> Answer(
        HttpContext context,
        string? name,
        ServedModels models,
        ServerOptions options,
        DocumentRoom room
    )
    {
        var model = models.All[0];
        using var bytes = new MemoryStream();
        if (context.Request.HasFormContentType)
            name = await CopyForm(context, bytes, name, options);
        else
            await context.Request.Body.CopyToAsync(bytes, context.RequestAborted);
        if (string.IsNullOrWhiteSpace(name))
            throw new ApiException(400, "The file has no name. Give it: POST /documents?name=book.pdf", "name", "invalid_value");
        name = Path.GetFileName(name);
        bytes.Position = 0;
        try
        {
            var (text, tokens) = await room.Read(bytes, name, model, context.RequestAborted);
            return Results.Json(
                new
                {
                    name,
                    text,
                    tokens,
                    context = model.Context,
                },
                EndpointFormat.Json
            );
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, "name", "unreadable_document");
        }
    }

    private static async Task<string?> CopyForm(HttpContext context, Stream bytes, string? name, ServerOptions options)
    {
        IFormCollection form;
        try
        {
            form = await context.Request.ReadFormAsync(
                new FormOptions { MultipartBodyLengthLimit = options.MaxBodyBytes },
                context.RequestAborted
            );
        }
        catch (InvalidDataException e)
        {
            throw new ApiException(400, $"Cannot read the form because it is damaged: {e.Message}", code: "invalid_form");
        }
        if (form.Files.Count != 1)
            throw new ApiException(
                400,
                $"The form has {form.Files.Count} files; it must have exactly 1. Send further ones in requests of their own.",
                "file",
                "invalid_value"
            );
        await form.Files[0].CopyToAsync(bytes, context.RequestAborted);
        return name ?? form.Files[0].FileName;
    }
}
