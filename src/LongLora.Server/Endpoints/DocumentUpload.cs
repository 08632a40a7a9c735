using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace LongLora.Server;

/// <summary><c>POST /documents</c>: the text of a file, which is the body or one part of a form.</summary>
internal static class DocumentUpload
{
    private static readonly string[] s_parameters = ["name", "model"];
    private static readonly TimeSpan s_bodyTime = TimeSpan.FromMinutes(2);

    internal static async Task<IResult> Answer(HttpContext context, ServedModels models, ServerOptions options, DocumentRoom room)
    {
        var query = context.Request.Query;
        if (query.Keys.FirstOrDefault(key => !s_parameters.Contains(key)) is { } unknown)
            throw new ApiException(
                400,
                $"Cannot use the parameter {unknown} because this server does not know it."
                    + $"{NearestName.Hint(unknown, s_parameters)} Correct it, or leave it out.",
                unknown,
                "unknown_parameter"
            );
        var model = models.Choose(query["model"].FirstOrDefault());
        var name = query["name"].FirstOrDefault();
        using var place = await room.Enter(context.RequestAborted);
        using var bytes = new MemoryStream();
        name = await CopyBody(context, bytes, name, options);
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
                    context = Models.FindContext(model),
                },
                EndpointFormat.Json
            );
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, "name", "unreadable_document");
        }
    }

    // A body that comes drop by drop would keep the others out.
    private static async Task<string?> CopyBody(HttpContext context, Stream bytes, string? name, ServerOptions options)
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        time.CancelAfter(s_bodyTime);
        try
        {
            if (IsForm(context.Request))
                return await CopyForm(context, bytes, name, options, time.Token);
            await context.Request.Body.CopyToAsync(bytes, time.Token);
            return name;
        }
        catch (OperationCanceledException) when (!context.RequestAborted.IsCancellationRequested)
        {
            throw new ApiException(408, $"The document did not arrive within {s_bodyTime.TotalMinutes:N0} minutes.", code: "timeout");
        }
    }

    // A form of fields alone has no files. curl says of any body that it is one, unless it is told otherwise.
    private static bool IsForm(HttpRequest request) =>
        request.ContentType?.StartsWith("multipart/form-data", StringComparison.OrdinalIgnoreCase) == true;

    private static async Task<string?> CopyForm(
        HttpContext context,
        Stream bytes,
        string? name,
        ServerOptions options,
        CancellationToken cancellation
    )
    {
        IFormCollection form;
        try
        {
            form = await context.Request.ReadFormAsync(new FormOptions { MultipartBodyLengthLimit = options.MaxBodyBytes }, cancellation);
        }
        catch (Exception e) when (e is InvalidDataException or (IOException and not BadHttpRequestException))
        {
            throw new ApiException(400, $"Cannot read the form because it is damaged or cut off: {e.Message}", code: "invalid_form");
        }
        if (form.Files.Count != 1)
            throw new ApiException(
                400,
                $"The form has {form.Files.Count} files; it must have exactly 1. Send further ones in requests of their own.",
                "file",
                "invalid_value"
            );
        await form.Files[0].CopyToAsync(bytes, cancellation);
        return name ?? form.Files[0].FileName;
    }
}
