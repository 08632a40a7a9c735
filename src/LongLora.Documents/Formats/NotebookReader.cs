using System.Text.Json;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Jupyter notebooks as Markdown: texts as they are, code in fences with its language, and below it what it printed. Pictures, HTML and
/// error traces are left out.
/// </summary>
internal sealed class NotebookReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".ipynb"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(stream, file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        try
        {
            using var json = JsonDocument.Parse(new Utf8Stream(stream, file));
            var root = json.RootElement;
            var language = (
                Find(root, "metadata", "language_info", "name") ?? Find(root, "metadata", "kernelspec", "language")
            )?.GetString();
            // Version 3 has its cells in worksheets.
            IEnumerable<JsonElement> cells =
                Find(root, "cells") is { ValueKind: JsonValueKind.Array } list ? list.EnumerateArray()
                : Find(root, "worksheets") is { ValueKind: JsonValueKind.Array } sheets
                    ? sheets
                        .EnumerateArray()
                        .SelectMany(s => Find(s, "cells") is { ValueKind: JsonValueKind.Array } c ? c.EnumerateArray() : [])
                : throw new DataException($"Cannot read {file} as a notebook because it has neither 'cells' nor 'worksheets'.");
            return string.Join("\n\n", cells.SelectMany(c => ReadCell(c, language ?? "python")).Where(t => t.Trim().Length > 0));
        }
        catch (JsonException e)
        {
            throw new DataException($"Cannot read {file} as a notebook because it is not valid JSON: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            throw new DataException($"Cannot read {file} as a notebook because a field has a wrong type: {e.Message}", e);
        }
    }

    private static IEnumerable<string> ReadCell(JsonElement cell, string language)
    {
        var source = ReadLines(Find(cell, "source") ?? Find(cell, "input"));
        switch (Find(cell, "cell_type")?.GetString())
        {
            case "markdown" or "raw":
                yield return source;
                break;
            case "heading":
                yield return new string('#', Find(cell, "level")?.GetInt32() ?? 1) + " " + source;
                break;
            case "code":
                if (source.Trim().Length > 0)
                    yield return Fence(language, source);
                if (Find(cell, "outputs") is not { ValueKind: JsonValueKind.Array } outputs)
                    break;
                var printed = string.Concat(outputs.EnumerateArray().Select(ReadOutput));
                if (printed.Trim().Length > 0)
                    yield return Fence("", printed);
                break;
        }
    }

    private static string ReadOutput(JsonElement output) =>
        Find(output, "output_type")?.GetString() switch
        {
            "stream" => ReadLines(Find(output, "text")),
            "execute_result" or "display_data" or "pyout" => ReadResult(output),
            _ => "",
        };

    // A picture or a page has a text that only names it.
    private static string ReadResult(JsonElement output)
    {
        var data = Find(output, "data") ?? output;
        if (data.EnumerateObject().Any(p => p.Name.StartsWith("image/", StringComparison.Ordinal) || p.Name is "png" or "jpeg" or "svg"))
            return "";
        return ReadLines(Find(data, "text/plain") ?? Find(data, "text")) is { Length: > 0 } text ? text.TrimEnd('\n') + "\n" : "";
    }

    private static string Fence(string language, string text)
    {
        var fence = text.Contains("```", StringComparison.Ordinal) ? "````" : "```";
        return $"{fence}{language}\n{text.Trim('\n')}\n{fence}";
    }

    private static string ReadLines(JsonElement? value) =>
        value switch
        {
            { ValueKind: JsonValueKind.String } text => text.GetString()!,
            { ValueKind: JsonValueKind.Array } lines => string.Concat(lines.EnumerateArray().Select(l => l.GetString())),
            _ => "",
        };

    private static JsonElement? Find(JsonElement element, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
        {
            if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(name, out element))
                return null;
        }
        return element;
    }
}
