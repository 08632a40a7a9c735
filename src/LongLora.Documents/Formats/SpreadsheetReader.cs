using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Xml;
using ExcelDataReader;
using ExcelDataReader.Exceptions;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Excel workbooks as text: one line per row, <c>|</c> between cells, and the name of a sheet as a heading if there are several. Formulas
/// give their stored results. Dates are written as yyyy-MM-dd. Hidden sheets and charts are left out.
/// </summary>
internal sealed class SpreadsheetReader : IDocumentReader
{
    // Excel's own limit for a sheet is as many rows. The others are far above what a person writes.
    private const int MostRows = 1 << 20,
        MostCells = 1 << 25,
        MostStrings = 1 << 23,
        MostCharacters = 1 << 28;

    static SpreadsheetReader() => Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);

    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".xlsx", ".xlsm", ".xls"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(DocxReader.MakeSeekable(stream), file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        CheckSize(stream, file);
        long cells = 0,
            characters = 0;
        try
        {
            using var reader = ExcelReaderFactory.CreateReader(stream, new ExcelReaderConfiguration { LeaveOpen = true });
            var sheets = new List<(string Name, string Text)>();
            do
            {
                if (reader.VisibleState is not (null or "visible"))
                    continue;
                var text = new StringBuilder();
                for (var row = 1; reader.Read(); row++)
                {
                    Require(row, MostRows, "rows in the sheet '" + reader.Name + "'", file);
                    Require(cells += reader.FieldCount, MostCells, "cells", file);
                    CsvReader.AppendRow(text, [.. Enumerable.Range(0, reader.FieldCount).Select(i => Write(reader.GetValue(i)))]);
                    Require(characters + text.Length, MostCharacters, "characters of text", file);
                }
                characters += text.Length;
                if (text.Length > 0)
                    sheets.Add((reader.Name, text.ToString()));
            } while (reader.NextResult());
            return sheets.Count == 1 ? sheets[0].Text : string.Join('\n', sheets.Select(s => $"# {s.Name}\n\n{s.Text}"));
        }
        catch (InvalidPasswordException e)
        {
            throw new DataException($"Cannot read {file} because it is encrypted with a password. Save it without a password.", e);
        }
        catch (Exception e) when (e is not (OutOfMemoryException or IOException or DataException))
        {
            throw new DataException($"Cannot read {file} as an Excel workbook: {e.Message}", e);
        }
    }

    // The library inflates what the file asks for.
    private static void CheckSize(Stream stream, string file)
    {
        try
        {
            using var zip = new ZipArchive(stream, ZipArchiveMode.Read, leaveOpen: true);
            foreach (var part in zip.Entries)
                PackedPart.Check(part, file);
            CountStrings(zip, file);
        }
        catch (Exception e) when (e is InvalidDataException or XmlException)
        {
            // A workbook of the old format, or a file that the library refuses.
        }
        stream.Position = 0;
    }

    // The library keeps all shared texts in memory, however small they are in the file.
    private static void CountStrings(ZipArchive zip, string file)
    {
        foreach (var part in zip.Entries.Where(e => e.FullName.EndsWith("sharedStrings.xml", StringComparison.OrdinalIgnoreCase)))
        {
            using var xml = XmlReader.Create(part.Open(), new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit });
            var count = 0;
            while (xml.Read())
            {
                if (xml.NodeType == XmlNodeType.Element && xml.LocalName == "si")
                    Require(++count, MostStrings, "shared texts", file);
            }
        }
    }

    private static void Require(long count, long most, string what, string file)
    {
        if (count > most)
            throw new DataException($"Cannot read {file} because it has more than {most:N0} {what}. Split the workbook.");
    }

    private static string Write(object? value) =>
        value switch
        {
            null => "",
            string text => text,
            bool flag => flag ? "TRUE" : "FALSE",
            DateTime { TimeOfDay.Ticks: 0 } day => day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
            DateTime time => time.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
            TimeSpan time => time.ToString("c", CultureInfo.InvariantCulture),
            // As many digits as Excel keeps.
            double number => number.ToString("G15", CultureInfo.InvariantCulture),
            IFormattable number and (int or long or float or decimal) => number.ToString(null, CultureInfo.InvariantCulture),
            _ => throw new DataException($"a cell has the type {value.GetType().Name}, which is not supported."),
        };
}
