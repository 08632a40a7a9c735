using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace LongLora.Tests;

/// <summary>
/// Documents that ended the process that read them, kept it busy without end, or took all of its memory, and their relatives. They are made
/// here, so the tests need no files.
/// </summary>
internal static class HostileDocuments
{
    private const string Catalog = "<< /Type /Catalog /Pages 2 0 R >>",
        Pages = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        Font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        Words = "BT /F1 12 Tf 72 700 Td (Hello wide world of documents) Tj ET ",
        Start = "<w:document xmlns:w=\"w\"><w:body>",
        End = "</w:body></w:document>";

    // Found by damaging a small file at random: its pages of levels claim a run of 2^31 values.
    private const string EndlessParquet =
        "UEFSMRUAFYgDFcwBLBUoFQAVBhUGHBgFcm93IDkYBXJvdyAwFgAoBXJvdyA5GAVyb3cgMAAAAMQBOAIAAAAoAQUAAAByb3cgMBEJADERCAAyEQkAMxEJADQRCQA1EQ"
        + "kANiSbIKoRCQA3EQkAOBEJBDkGDVoEMTAVCgAxFQoAMhUKADMVCgA0FQoANRUKADYVCgA3FQooOAYAAAByb3cgMTkVABWgARWmASwVKBUAFQYVBhwYBBMAAAAY"
        + "BAAAAAAWACgEEwAAABgEAAAAAAAAAFDwTwAAAAABAAAAAgAAAAMAAAAEAAAABQAAAAYAAAAHAAAACAAAAAkAAAAKAAAACwAAAAwAAAANAAAADgAAAA8AAAAQAA"
        + "AAEQAAABIAAAATAAAAFQAVgAUV+AEsFVAVABUGFQYcGAFiGAJhMBYAKAFiGAJhMAAAAMACHFAAAAACAAIB/gQANgQAOAAAUAMCAAAAYTABAAAAYgULADEZCwAy"
        + "GQsAMxkLADQZCwA1GQsANhkLADcZCwA4GQsAOYULAAMBbgAxCW8JDAlwCQwJcQkMCXIJDAlzCQwJdAkMCXUJDAl2CQwJdywDAAAAYTE5AQAAAGIVAhlsSARyb2"
        + "90FQYAFQwlAhgEdGV4dCUATBwAAAAVAiUAGAFuJSJMrBMgEQAAADUCGAR0YWdzFQIVBkw8AAAANQQYBGxpc3QVAgAVDCUCGAdlbGVtZW50JQBMHAAAABYoGRwZ"
        + "PCYIHBUMGSUABhkYBHRleHQVAhYoFu4CJgg8GAVyb3cgORgFcm93IDAWACgFcm93IDkYBXJvdyAwAAAAJroCHBUCGSUABhkYAW4VAhYoFv4BFoQCJroCPBgEEw"
        + "AAABgEAAAAABYAKAQTAAAAGAQAAAAAACAAJr4EHBUMGSUABhk4BHRhZ3MEbGlzdAdlbGVtZW50FQIWUBbKBRbCAia+BDwYAWIYAmEwFgAoAWIYAmEwAAAAFrYL"
        + "Fig2+AYAKEpQYXJxdWV0Lk5ldCB2ZXJzaW9uIDYuMS4wIChidWlsZCBjMTc5ZDk1NDliNWY0NGE5MjQxZTcyOWY4NjlkNDk0N2VlNTkpAAAAUEFSMQ==";

    /// <summary>All of them, by name; the extension of the name is the file's.</summary>
    public static IReadOnlyDictionary<string, Func<byte[]>> All { get; } = MakeAll();

    /// <summary>The names, as theory data.</summary>
    public static IEnumerable<TheoryDataRow<string>> Names => All.Keys.Select(name => new TheoryDataRow<string>(name));

    private static Dictionary<string, Func<byte[]>> MakeAll()
    {
        var all = new Dictionary<string, Func<byte[]>> { ["endless.parquet"] = () => Convert.FromBase64String(EndlessParquet) };
        AddPdf(all);
        AddWord(all);
        AddPages(all);
        AddOthers(all);
        return all;
    }

    private static void AddPdf(Dictionary<string, Func<byte[]>> all)
    {
        static string Form(string more = "") => $"/Type /XObject /Subtype /Form /BBox [0 0 9 9] {more}";
        static string Calls(string name, int number) => $"/Resources << /XObject << /{name} {number} 0 R >> /Font << /F1 5 0 R >> >>";
        all["form-calls-itself.pdf"] = () => MakePdf(Page("/XObject << /X 6 0 R >>"), Words + "/X Do", Stream(Form(), "/X Do"));
        all["two-forms-call-each-other.pdf"] = () =>
            MakePdf(
                Page("/XObject << /X 6 0 R >>"),
                Words + "/X Do",
                Stream(Form(Calls("Y", 7)), "/Y Do"),
                Stream(Form(Calls("X", 6)), "/X Do")
            );
        all["forms-doubling-30.pdf"] = () =>
            MakePdf(
                Page("/XObject << /X 6 0 R >>"),
                Words + "/X Do",
                [.. Enumerable.Range(0, 30).Select(i => Stream(Form(Calls("X", 7 + i)), "/X Do /X Do")), Stream(Form(Calls("Z", 1)), Words)]
            );
        all["page-tree-cycle.pdf"] = () =>
            MakePdf([Latin(Catalog), Latin("<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 >>"), Page(), Stream("", Words), Latin(Font)]);
        all["page-tree-doubling.pdf"] = () =>
            MakePdf([
                Latin(Catalog),
                .. Enumerable.Range(0, 25).Select(i => Latin($"<< /Type /Pages /Kids [{i + 3} 0 R {i + 3} 0 R] /Count {1 << (25 - i)} >>")),
                Latin(
                    Encoding
                        .Latin1.GetString(Page())
                        .Replace("4 0 R", "28 0 R", StringComparison.Ordinal)
                        .Replace("5 0 R", "29 0 R", StringComparison.Ordinal)
                ),
                Stream("", Words),
                Latin(Font),
            ]);
        all["flate-twice.pdf"] = () => MakePdf([Latin(Catalog), Latin(Pages), Page(), FlateTwice(), Latin(Font)]);
        all["deep-array.pdf"] = () => MakePdf(Page(), Words, Latin(Repeat("[", 100_000) + Repeat("]", 100_000)));
        all["deep-array-in-content.pdf"] = () => MakePdf(Page(), Words + Repeat("[", 100_000) + Repeat("]", 100_000) + " TJ");
        all["deep-dictionary-in-content.pdf"] = () => MakePdf(Page(), Words + "/A " + Repeat("<< /A ", 100_000) + " BDC");
        foreach (var (name, range) in new[] { ("backwards", "<0044> <80> <0061>"), ("huge", "<00000000> <FFFFFFFF> <0041>") })
        {
            var map = Latin($"begincmap 1 beginbfrange {range} endbfrange endcmap");
            all[$"code-range-{name}.pdf"] = () => MakePdf(MapLetters(Join($"<< /Length {map.Length} >>\nstream\n", map, "\nendstream")));
            all[$"packed-code-range-{name}.pdf"] = () =>
            {
                var packed = Deflate(map);
                var entries = $"<< /Filter /FlateDecode /Length {packed.Length} >>\nstream\n";
                return MakePdf(MapLetters(Join(entries, packed, "\nendstream")));
            };
        }
        all["count-2e9.pdf"] = () =>
            MakePdf([Latin(Catalog), Latin("<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>"), Page(), Stream("", Words), Latin(Font)]);
        all["length-cycle.pdf"] = () =>
            MakePdf([Latin(Catalog), Latin(Pages), Page(), Latin($"<< /Length 4 0 R >>\nstream\n{Words}\nendstream"), Latin(Font)]);
        all["prev-cycle.pdf"] = () =>
            Latin(
                Encoding.Latin1.GetString(MakePdf(Page(), Words)).Replace("/Root 1 0 R", "/Root 1 0 R /Prev 9", StringComparison.Ordinal)
            );
        all["many-saves.pdf"] = () => MakePdf(Page(), Repeat("q ", 1_000_000) + Words);
    }

    private static void AddWord(Dictionary<string, Func<byte[]>> all)
    {
        static byte[] Nest(string before, string open, int count, string inside, string close, string after) =>
            MakeWord(Start + before + Repeat(open, count) + inside + Repeat(close, count) + after + End);
        all["runs-100k.docx"] = () => Nest("<w:p>", "<w:x>", 100_000, "<w:t>a</w:t>", "</w:x>", "</w:p>");
        all["controls-100k.docx"] = () => Nest("", "<w:sdt>", 100_000, "", "</w:sdt>", "");
        all["tags-5k.docx"] = () => Nest("<w:p>", "<w:x>", 5000, "<w:t>a</w:t>", "</w:x>", "</w:p>");
        all["tables-2k.docx"] = () =>
            Nest("", "<w:tbl><w:tr><w:tc>", 2000, "<w:p><w:r><w:t>a</w:t></w:r></w:p>", "</w:tc></w:tr></w:tbl>", "");
        all["one-long-text.docx"] = () => Nest("<w:p><w:r><w:t>", Repeat("a", 1_000_000), 400, "", "", "</w:t></w:r></w:p>");
        all["paragraphs-10m.docx"] = () => Nest("", Repeat("<w:p><w:r><w:t>aaaaaaaa</w:t></w:r></w:p>", 10_000), 1000, "", "", "");
        all["entities.docx"] = () =>
            MakeWord("<!DOCTYPE a [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]>" + Start + "<w:p><w:r><w:t>&b;</w:t></w:r></w:p>" + End);
        all["external-entity.docx"] = () =>
            MakeWord("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>" + Start + "<w:p><w:r><w:t>&x;</w:t></w:r></w:p>" + End);
        all["footnote-fan.docx"] = () =>
            MakeZip(
                ("[Content_Types].xml", "<Types/>"),
                ("word/document.xml", Start + Repeat("<w:p><w:r><w:footnoteReference w:id=\"1\"/></w:r></w:p>", 3000) + End),
                (
                    "word/footnotes.xml",
                    "<w:footnotes xmlns:w=\"w\"><w:footnote w:id=\"1\"><w:p>"
                        + Repeat("<w:r><w:t>aaaaaaaaaa</w:t></w:r>", 3000)
                        + "</w:p></w:footnote></w:footnotes>"
                )
            );
        all["odt-nest.odt"] = () =>
            MakeZip(
                ("mimetype", "application/vnd.oasis.opendocument.text"),
                ("content.xml", Repeat("<a>", 100_000) + "x" + Repeat("</a>", 100_000))
            );
        all["sheet.xlsx"] = () =>
            MakeZip(
                ("[Content_Types].xml", "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>"),
                ("xl/workbook.xml", Repeat("<a>", 100_000) + Repeat("</a>", 100_000))
            );
        all["book.epub"] = () =>
            MakeZip(
                ("META-INF/container.xml", "<container><rootfiles><rootfile full-path=\"p.opf\"/></rootfiles></container>"),
                (
                    "p.opf",
                    "<package><manifest><item id=\"a\" href=\"a.html\" media-type=\"text/html\"/></manifest><spine>"
                        + Repeat("<itemref idref=\"a\"/>", 2000)
                        + "</spine></package>"
                ),
                ("a.html", Repeat("<div>", 2000) + Repeat("words and words ", 20_000))
            );
    }

    private static void AddPages(Dictionary<string, Func<byte[]>> all)
    {
        foreach (
            var (name, text) in (Dictionary<string, string>)
                new()
                {
                    ["div-100k"] = Repeat("<div>", 100_000) + "x",
                    ["b-100k"] = Repeat("<b>", 100_000) + "x",
                    ["span-in-pre-100k"] = "<pre>" + Repeat("<span>", 100_000) + "x",
                    ["main-5k"] = Repeat("<main>", 5000) + "x",
                    ["table-3k"] = Repeat("<table><tr><td>", 3000) + "x",
                    ["list-3k"] = Repeat("<ul><li>", 3000) + "x",
                    ["math-100k"] = "<math>" + Repeat("<mrow>", 100_000) + "x",
                    ["svg-200k"] = "<svg>" + Repeat("<g>", 200_000) + "x",
                    ["adoption-3k"] = Repeat("<a><b>", 3000) + Repeat("<p>", 3000) + Repeat("</a></b>", 3000),
                    ["attributes-100k"] = $"<p {string.Concat(Enumerable.Range(0, 100_000).Select(i => $"a{i}=1 "))}>x</p>",
                    ["forms-3k"] = Repeat("<form>a<div>", 3000) + "x",
                }
        )
        {
            all[name + ".html"] = () => Encoding.UTF8.GetBytes(text);
        }
    }

    private static void AddOthers(Dictionary<string, Func<byte[]>> all)
    {
        all["groups-100k.rtf"] = () => Latin("{\\rtf1 " + Repeat("{a", 100_000) + Repeat("}", 100_000) + "}");
        all["parts-10k.eml"] = () => Latin(MakeLetter(10_000));
        all["messages-3k.eml"] = () => Latin(Repeat("Content-Type: message/rfc822\r\n\r\n", 3000) + "Subject: x\r\n\r\nx");
        all["cells.ipynb"] = () => Latin("{\"cells\":" + Repeat("[", 100_000) + Repeat("]", 100_000) + "}");
        all["braces-100k.tex"] = () =>
            Latin("\\begin{document}" + Repeat("{\\textbf{a", 100_000) + Repeat("}}", 100_000) + "\\end{document}");
        all["wide.csv"] = () => Latin(Repeat("\"a\"\"b\",", 100_000) + "c\n");
        all["unclosed.csv"] = () => Latin("a,b\n\"" + Repeat("x\n", 1_000_000));
        all["cues-300k.srt"] = () => Latin(Repeat("1\n00:00:00,000 --> 00:00:01,000\n<i><i><i>a\n\n", 300_000));
    }

    private static string MakeLetter(int depth)
    {
        var text = new StringBuilder();
        for (var i = 0; i < depth; i++)
            text.Append(CultureInfo.InvariantCulture, $"Content-Type: multipart/mixed; boundary=b{i}\r\n\r\n--b{i}\r\n");
        return text.Append("Content-Type: text/plain\r\n\r\nx").ToString();
    }

    // A page whose font has a table of letters.
    private static byte[][] MapLetters(byte[] table) =>
        [
            Latin(Catalog),
            Latin(Pages),
            Page(),
            Stream("", Words),
            Latin(Font.Replace(">>", "/ToUnicode 6 0 R >>", StringComparison.Ordinal)),
            table,
        ];

    private static byte[] FlateTwice()
    {
        var packed = Deflate(Deflate(new byte[300_000_000]));
        return Join($"<< /Filter [/FlateDecode /FlateDecode] /Length {packed.Length} >>\nstream\n", packed, "\nendstream");
    }

    private static byte[] Deflate(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var stream = new ZLibStream(packed, CompressionLevel.SmallestSize, leaveOpen: true))
            stream.Write(bytes);
        return packed.ToArray();
    }

    private static byte[] Page(string more = "") =>
        Latin(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> " + more + " >> >>"
        );

    private static byte[] Stream(string entries, string content) =>
        Latin($"<< {entries} /Length {content.Length} >>\nstream\n{content}\nendstream");

    private static byte[] MakePdf(byte[] page, string content, params byte[][] more) =>
        MakePdf([Latin(Catalog), Latin(Pages), page, Stream("", content), Latin(Font), .. more]);

    private static byte[] MakePdf(byte[][] objects)
    {
        using var pdf = new MemoryStream();
        pdf.Write(Latin("%PDF-1.4\n"));
        var offsets = new List<long>();
        for (var i = 0; i < objects.Length; i++)
        {
            offsets.Add(pdf.Position);
            pdf.Write(Join($"{i + 1} 0 obj\n", objects[i], "\nendobj\n"));
        }
        var table = pdf.Position;
        pdf.Write(
            Latin(
                $"xref\n0 {objects.Length + 1}\n0000000000 65535 f \n{string.Concat(offsets.Select(o => $"{o:D10} 00000 n \n"))}"
                    + $"trailer\n<< /Size {objects.Length + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF"
            )
        );
        return pdf.ToArray();
    }

    private static byte[] MakeWord(string document) => MakeZip(("[Content_Types].xml", "<Types/>"), ("word/document.xml", document));

    private static byte[] MakeZip(params (string Name, string Text)[] parts)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, text) in parts)
            {
                using var part = zip.CreateEntry(name, CompressionLevel.Fastest).Open();
                part.Write(Encoding.UTF8.GetBytes(text));
            }
        }
        return bytes.ToArray();
    }

    private static byte[] Join(string before, byte[] middle, string after) => [.. Latin(before), .. middle, .. Latin(after)];

    private static byte[] Latin(string text) => Encoding.Latin1.GetBytes(text);

    private static string Repeat(string text, int count) => new StringBuilder(text.Length * count).Insert(0, text, count).ToString();
}
