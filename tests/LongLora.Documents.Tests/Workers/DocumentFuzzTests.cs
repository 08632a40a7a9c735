using System.IO.Compression;
using System.Text;
using LongLora.Documents.Workers;
using LongLora.Tests;
using Parquet.Serialization;

namespace LongLora.Documents.Tests.Workers;

/// <summary>Documents of every type, damaged at random and read in worker processes.</summary>
public sealed class DocumentFuzzTests : IDisposable
{
    private static readonly string[] s_marks =
    [
        "<main>",
        "<table><tr><td>",
        "<ul><li>",
        "<ol start=999999999999>",
        "<pre>",
        "<svg><title>",
        "<math><annotation encoding='application/x-tex'>",
        "<template>",
        "<b><i><u>",
        "</p>",
        "<!doctype",
        "<![CDATA[",
        "<!--",
        "&#x110000;",
        "&#0;",
        "&nbsp",
        "<select><option>",
        "<noscript>",
        "\0",
        "<a href='",
        "<meta charset=utf-16>",
        "<form><input>",
        "<plaintext>",
        "<caption><table>",
    ];

    private readonly DocumentWorkers _workers = new();

    public void Dispose() => _workers.Dispose();

    private void Check(string name, int cases, Func<Mutation, byte[]> make) =>
        FuzzRun.Check(
            name,
            cases,
            make,
            bytes =>
            {
                using var stream = new MemoryStream(bytes);
                DocumentText.Read(stream, name, _workers.Readers, 1 << 26, TestContext.Current.CancellationToken);
            },
            refuses: Path.GetExtension(name) is not (".html" or ".eml" or ".tex" or ".srt")
        );

    [Fact]
    public void Fuzz_pdf()
    {
        var files = Directory
            .GetFiles(Path.Combine(AppContext.BaseDirectory, "Material"), "*.pdf")
            .Order(StringComparer.Ordinal)
            .Select(File.ReadAllBytes)
            .Where(b => b.Length < 100_000)
            .ToList();
        var small = HostileDocuments.All["page-tree-cycle.pdf"]();
        Check("x.pdf", 1000, m => m.Bytes(m.Chance(70) ? small : m.Pick(files)));
    }

    [Fact]
    public void Fuzz_docx()
    {
        var seed = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Material", "pandoc.docx"));
        string[] pieces =
        [
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>",
            "&x;",
            "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl>",
            "<w:pStyle w:val=\"Heading1\"/>",
            "<w:outlineLvl w:val=\"-5\"/>",
            "<w:footnoteReference w:id=\"1\"/>",
            "<w:sdt><w:sdtContent>",
            "<w:vanish/>",
            "</w:p>",
            "<w:p>",
            "<w:del>",
            "<w:tc>",
            "&#0;",
            "<w:style w:styleId=\"a\"><w:basedOn w:val=\"a\"/></w:style>",
        ];
        Check("x.docx", 1000, m => m.Chance(30) ? m.Bytes(seed) : Repack(seed, m, pieces));
    }

    [Fact]
    public async Task Fuzz_parquet()
    {
        using var file = new MemoryStream();
        var rows = Enumerable
            .Range(0, 20)
            .Select(i => new Row
            {
                Text = $"row {i}",
                Number = i,
                Tags = [$"a{i}", "b"],
            });
        await ParquetSerializer.SerializeAsync(rows.ToList(), file, cancellationToken: TestContext.Current.CancellationToken);
        Check("x.parquet", 5000, m => m.Bytes(file.ToArray()));
    }

    private sealed class Row
    {
        [System.Text.Json.Serialization.JsonPropertyName("text")]
        public string? Text { get; set; }

        public int Number { get; set; }

        public List<string>? Tags { get; set; }
    }

    [Fact]
    public void Fuzz_html() =>
        Check("x.html", 5000, m =>
            m.Text(
                "<html><body><main><h1>t</h1><p>a<b>b</b><ul><li>x<ol start=3><li>y</ol></ul><table><tr><td>1<td><table><tr><td>2</table>"
                    + "</table><pre>a\n b</pre><math><annotation encoding='application/x-tex'>x^2</annotation></math></main></body></html>",
                s_marks
            )
        );

    [Theory]
    [InlineData(
        "x.odt",
        "mimetype=application/vnd.oasis.opendocument.text",
        "content.xml=<o:d xmlns:o=\"o\" xmlns:text=\"t\"><o:body><o:text><text:p>a<text:s/>b</text:p></o:text></o:body></o:d>"
    )]
    [InlineData(
        "x.epub",
        "META-INF/container.xml=<container><rootfiles><rootfile full-path=\"p.opf\"/></rootfiles></container>",
        "p.opf=<package><manifest><item id=\"a\" href=\"a.html\" media-type=\"text/html\"/></manifest><spine><itemref "
            + "idref=\"a\"/></spine></package>",
        "a.html=<html><body><p>words"
    )]
    [InlineData(
        "x.xlsx",
        "[Content_Types].xml=<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>",
        "xl/workbook.xml=<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" "
            + "xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"s\" "
            + "sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>",
        "xl/_rels/workbook.xml.rels=<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships"
            + "\"><Relationship Id=\"r1\" Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
            + "\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
        "xl/worksheets/sheet1.xml=<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\"><sheetD"
            + "ata><row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>a</t></is></c><c "
            + "r=\"B1\"><v>2.5</v></c></row></sheetData></worksheet>"
    )]
    public void Fuzz_packages(string name, params string[] parts)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var part in parts)
            {
                var at = part.IndexOf('=', StringComparison.Ordinal);
                using var entry = zip.CreateEntry(part[..at]).Open();
                entry.Write(Encoding.UTF8.GetBytes(part[(at + 1)..]));
            }
        }
        Check(name, 2500, m => m.Chance(40) ? m.Bytes(bytes.ToArray()) : Repack(bytes.ToArray(), m, s_marks));
    }

    [Theory]
    [InlineData(
        "x.rtf",
        "{\\rtf1\\ansi\\uc1 {\\fonttbl{\\f0 A;}}\\b bold\\b0 \\u8364 ? \\'e9{\\*\\x y}\\par text\\bin3 abc}",
        "{",
        "}",
        "\\u-1 ",
        "\\bin999999999 ",
        "\\uc99999 "
    )]
    [InlineData(
        "x.eml",
        "From: a@b\r\nSubject: =?utf-8?q?x=20y?=\r\nContent-Type: multipart/mixed; "
            + "boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>a\r\n--b--\r\n",
        "--b\r\n",
        "Content-Type: message/rfc822\r\n\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "=?utf-16?b?////?=",
        "\r\n\r\n"
    )]
    [InlineData(
        "x.tex",
        "\\documentclass{a}\\begin{document}\\section{A} $x$ \\emph{b} % c\n\\end{document}",
        "{",
        "}",
        "\\begin{",
        "%",
        "\\"
    )]
    [InlineData(
        "x.ipynb",
        "{\"cells\":[{\"cell_type\":\"markdown\",\"source\":[\"a\"]},{\"cell_type\":\"code\",\"source\":\"b\",\"outputs"
            + "\":[{\"text\":[\"c\"]}]}],\"metadata\":{},\"nbformat\":4}",
        "[",
        "{",
        "null",
        "1e999",
        "\""
    )]
    [InlineData("x.srt", "1\n00:00:00,000 --> 00:00:01,000\n<i>a</i>\n\n2\n00:00:01,000 --> 00:00:02,000\nb\n", "-->", "\n\n", "<", "\0")]
    [InlineData("x.csv", "text,n\n\"a \"\"b\"\"\",1\nc,2\n", "\"", "\n", ",", "\0", ";")]
    public void Fuzz_texts(string name, string seed, params string[] pieces) => Check(name, 2500, m => m.Text(seed, [.. pieces, "\u00ff"]));

    // The same package, with pieces in its parts that nobody expects there.
    private static byte[] Repack(byte[] package, Mutation m, string[] pieces)
    {
        using var bytes = new MemoryStream();
        using (var from = new ZipArchive(new MemoryStream(package)))
        using (var to = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var part in from.Entries)
            {
                if (m.Chance(3))
                    continue;
                using var reader = new StreamReader(part.Open());
                var text = reader.ReadToEnd();
                for (var left = m.Chance(50) ? 1 + m.Below(4) : 0; left > 0 && text.Length > 0; left--)
                {
                    var at = text.IndexOf('>', m.Below(text.Length)) + 1;
                    text = m.Chance(75) ? text.Insert(at, m.Pick(pieces)) : text.Remove(at, Math.Min(text.Length - at, m.Below(40)));
                }
                using var writer = new StreamWriter(to.CreateEntry(m.Chance(98) ? part.FullName : "../" + part.FullName).Open());
                writer.Write(text);
            }
        }
        return bytes.ToArray();
    }
}
