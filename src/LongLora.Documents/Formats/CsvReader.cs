using System.Globalization;
using System.Text;
using System.Text.Json;
using CsvHelper;
using CsvHelper.Configuration;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Tables as text files (RFC 4180). As records every row is an object of strings named by the first row. As documents the column
/// <c>text</c> gives one document per row; a table without that column is one document with a line per row.
/// </summary>
/// <remarks>
/// The separator of <c>.csv</c> is found in the first rows: comma, semicolon, tab or bar. <c>.tsv</c> and <c>.tab</c> are separated by
/// tabs,
/// and quotation marks in them are letters, except around a whole cell.
/// </remarks>
internal sealed class CsvReader : IDocumentReader, IRecordReader
{
    private const string Text = "text";

    /// <inheritdoc cref="IDocumentReader.Extensions"/>
    public IReadOnlyList<string> Extensions { get; } = [".csv", ".tsv", ".tab"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        StringBuilder? table = null;
        var column = -1;
        foreach (var (cells, number) in ReadRows(stream, file))
        {
            if (table is null && column < 0)
            {
                column = Array.IndexOf(cells, Text);
                if (column >= 0)
                    continue;
                table = new StringBuilder();
            }
            if (table is null)
            {
                if (column >= cells.Length)
                    throw new DataException(
                        $"Cannot read {file}:{number} because the row has {cells.Length} cells, but '{Text}' is column {column + 1}."
                    );
                yield return new OpenedDocument(new StringReader(cells[column]), $"{file}:{number}");
            }
            else
                AppendRow(table, cells);
        }
        if (table is not null)
            yield return new OpenedDocument(new StringReader(table.ToString()), file);
    }

    /// <summary>Adds a row as one line. Rows without text are left out.</summary>
    internal static void AppendRow(StringBuilder table, IReadOnlyList<string> cells)
    {
        var count = cells.Count;
        while (count > 0 && string.IsNullOrWhiteSpace(cells[count - 1]))
            count--;
        if (count == 0)
            return;
        for (var i = 0; i < count; i++)
            table.Append(i > 0 ? " | " : "").AppendJoin(' ', cells[i].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        table.Append('\n');
    }

    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file)
    {
        string[]? names = null;
        foreach (var (cells, number) in ReadRows(stream, file))
        {
            if (names is null)
            {
                names = cells;
                if (names.GroupBy(n => n).FirstOrDefault(g => g.Count() > 1)?.Key is { } twice)
                    throw new DataException($"Cannot read {file} because two columns have the name '{twice}'. Rename one of them.");
                continue;
            }
            if (cells.Length != names.Length)
                throw new DataException(
                    $"Cannot read {file}:{number} because the row has {cells.Length} cells, but the first row names {names.Length} columns."
                );
            using var json = JsonDocument.Parse(ToJson(names, cells));
            yield return new DataRecord(json.RootElement, $"{file}:{number}");
        }
    }

    private static ReadOnlyMemory<byte> ToJson(string[] names, string[] cells)
    {
        using var memory = new MemoryStream();
        using (var writer = new Utf8JsonWriter(memory))
        {
            writer.WriteStartObject();
            for (var i = 0; i < names.Length; i++)
                writer.WriteString(names[i], cells[i]);
            writer.WriteEndObject();
        }
        return memory.GetBuffer().AsMemory(0, (int)memory.Length);
    }

    // Rows with the number of the line on which they begin.
    private static IEnumerable<(string[] Cells, int Line)> ReadRows(Stream stream, string file)
    {
        var isTabs = DataFiles.GetExtension(file) != ".csv";
        using var text = new Utf8TextReader(stream, file);
        using var parser = new CsvParser(
            text,
            new CsvConfiguration(CultureInfo.InvariantCulture)
            {
                Delimiter = isTabs ? "\t" : ",",
                DetectDelimiter = !isTabs,
                DetectDelimiterValues = [",", ";", "\t", "|"],
                Mode = isTabs ? CsvMode.NoEscape : CsvMode.RFC4180,
                IgnoreBlankLines = true,
            }
        );
        var line = 1;
        while (ReadRow(parser, file, line) is { } cells)
        {
            yield return (isTabs ? [.. cells.Select(Unquote)] : cells, line);
            line = parser.RawRow + 1;
        }
    }

    private static string[]? ReadRow(CsvParser parser, string file, int line)
    {
        try
        {
            return parser.Read() ? parser.Record! : null;
        }
        catch (BadDataException e)
        {
            throw new DataException(
                $"Cannot read {file} because the quotation marks of the row at line {line} do not match. Write a quotation mark within a "
                    + $"cell twice, and put such cells in quotation marks.",
                e
            );
        }
    }

    private static string Unquote(string cell) =>
        cell.Length >= 2 && cell[0] == '"' && cell[^1] == '"' ? cell[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal) : cell;
}
