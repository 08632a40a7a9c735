using System.IO.Compression;
using System.Text;
using LongLora.Data;
using LongLora.Documents.Formats;
using LongLora.Runtime;

namespace LongLora.Documents.Tests.Formats;

public class FormatTests
{
    private static List<string> ReadAll(IDocumentReader reader, byte[] bytes, string file)
    {
        using var stream = new MemoryStream(bytes);
        return [.. reader.Read(stream, file).Select(d => d.Text.ReadToEnd())];
    }

    private static string Read(IDocumentReader reader, string text, string file) =>
        Assert.Single(ReadAll(reader, Encoding.UTF8.GetBytes(text), file)).Trim('\n');

    private static byte[] Zip(params (string Name, string Text)[] parts)
    {
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, text) in parts)
            {
                using var writer = new StreamWriter(zip.CreateEntry(name).Open());
                writer.Write(text);
            }
        }
        return stream.ToArray();
    }

    private static byte[] Book(string manifest, string spine, params (string Name, string Text)[] parts) =>
        Zip([
            ("META-INF/container.xml", "<container xmlns='urn:c'><rootfiles><rootfile full-path='OPS/book.opf'/></rootfiles></container>"),
            ("OPS/book.opf", $"<package xmlns='urn:p'><manifest>{manifest}</manifest><spine>{spine}</spine></package>"),
            .. parts,
        ]);

    private const string TwoChapters =
        "<item id='b' href='text/b%20c.xhtml' media-type='application/xhtml+xml'/>"
        + "<item id='a' href='text/a.xhtml' media-type='application/xhtml+xml'/>"
        + "<item id='n' href='nav.xhtml' media-type='application/xhtml+xml' properties='nav'/>";

    [Fact]
    public void Epub_chapters_come_in_the_order_of_the_spine_with_their_notes() =>
        Assert.Equal(
            ["# One\n\nText é.\n\nA note.\n\n# Two\n\nMore."],
            ReadAll(
                new EpubReader(),
                Book(
                    TwoChapters,
                    "<itemref idref='n'/><itemref idref='a'/><itemref idref='b'/>",
                    ("OPS/text/a.xhtml", "<!DOCTYPE html><html><body><h1>One</h1><p>Text é.</p><aside>A note.</aside></body></html>"),
                    ("OPS/text/b c.xhtml", "<html><body><h1>Two</h1><article></article><p>More.</p></body></html>"),
                    ("OPS/nav.xhtml", "<html><body><p>Contents</p></body></html>")
                ),
                "book.epub"
            )
        );

    [Fact]
    public void Epub_that_is_protected_or_incomplete_is_refused_by_name()
    {
        var locked = Book(
            TwoChapters,
            "<itemref idref='a'/>",
            ("OPS/text/a.xhtml", "x"),
            ("META-INF/encryption.xml", "<e><CipherReference URI='OPS/text/a.xhtml'/></e>")
        );
        Assert.Contains("DRM", Refuse(new EpubReader(), locked, "book.epub"), StringComparison.Ordinal);
        Assert.Contains(
            "'OPS/text/a.xhtml' is missing",
            Refuse(new EpubReader(), Book(TwoChapters, "<itemref idref='a'/>"), "book.epub"),
            StringComparison.Ordinal
        );
        Assert.Contains("container.xml", Refuse(new EpubReader(), Zip(("a", "b")), "book.epub"), StringComparison.Ordinal);
        Assert.Contains("not a zip file", Refuse(new EpubReader(), "no book"u8.ToArray(), "book.epub"), StringComparison.Ordinal);
    }

    private static string Refuse(IDocumentReader reader, byte[] bytes, string file)
    {
        var message = Assert.Throws<DataException>(() => ReadAll(reader, bytes, file)).Message;
        Assert.Contains(file, message, StringComparison.Ordinal);
        return message;
    }

    private const string Names =
        "xmlns:office='o' xmlns:text='t' xmlns:table='b' xmlns:style='s' xmlns:draw='d' xmlns:fo='f' xmlns:xlink='x'";

    private static byte[] Odt(string body) =>
        Zip(
            (
                "content.xml",
                $"<office:document-content {Names}><office:automatic-styles><text:list-style style:name='L'><text:list-level-style-number "
                    + "text:level='1' style:num-format='1'/><text:list-level-style-bullet text:level='2'/></text:list-style><style:style "
                    + "style:name='H'><style:text-properties "
                    + "text:display='none'/></style:style></office:automatic-styles><office:body><office:text>"
                    + $"{body}</office:text></office:body></office:document-content>"
            )
        );

    [Fact]
    public void Odt_keeps_headings_lists_tables_and_notes() =>
        Assert.Equal(
            ["## Costs\n\nA line[^1] with spaces.\n\n1. one\n  - inner\n2. two\n\nname | size boxed\nx | 1\n\nin a box\n\n[^1]: The note."],
            ReadAll(
                new OdtReader(),
                Odt(
                    "<text:tracked-changes><text:deletion><text:p>gone</text:p></text:deletion></text:tracked-changes>"
                        + "<text:h text:outline-level='2'>Costs</text:h><text:p>A line<text:note><text:note-citation>1</text:note-citation>"
                        + "<text:note-body><text:p>The note.</text:p></text:note-body></text:note><text:s text:c='3'/>with<text:tab/>"
                        + "<text:span>spaces.</text:span><text:span text:style-name='H'>hidden</text:span><office:annotation><text:p>"
                        + "comment</text:p></office:annotation></text:p><text:p text:style-name='H'>hidden</text:p>"
                        + "<text:list "
                        + "text:style-name='L'><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner</text:p>"
                        + "</text:list-item></text:list></text:list-item><text:list-item><text:p>two</text:p></text:list-item></text:list>"
                        + "<table:table><table:table-header-rows><table:table-row><table:table-cell><text:p>name</text:p>"
                        + "</table:table-cell>"
                        + "<table:table-cell><text:p>size</text:p><text:p><draw:frame><draw:text-box><text:p>boxed</text:p></draw:text-box>"
                        + "</draw:frame></text:p></table:table-cell></table:table-row></table:table-header-rows><table:table-row>"
                        + "<table:table-cell><text:p>x</text:p></table:table-cell><table:table-cell><text:p>1</text:p></table:table-cell>"
                        + "</table:table-row></table:table><text:p><draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box>"
                        + "</draw:frame></text:p>"
                ),
                "a.odt"
            )
        );

    [Fact]
    public void Odt_list_goes_on_where_it_says_so()
    {
        static string List(string attribute, string text) =>
            $"<text:list text:style-name='L' {attribute}><text:list-item><text:p>{text}</text:p></text:list-item></text:list>";
        Assert.Equal(
            ["1. a\n\n2. b\n\nbetween\n\n1. c"],
            ReadAll(
                new OdtReader(),
                Odt(List("", "a") + List("text:continue-numbering='true'", "b") + "<text:p>between</text:p>" + List("", "c")),
                "a.odt"
            )
        );
    }

    [Fact]
    public void Odt_that_is_encrypted_or_too_deep_is_refused()
    {
        var encrypted = Zip(("META-INF/manifest.xml", "<m><encryption-data/></m>"), ("content.xml", "xx"));
        Assert.Contains("password", Refuse(new OdtReader(), encrypted, "a.odt"), StringComparison.Ordinal);
        var deep = string.Concat(Enumerable.Repeat("<text:span>", 50_000)) + string.Concat(Enumerable.Repeat("</text:span>", 50_000));
        Assert.Contains("nested too deeply", Refuse(new OdtReader(), Odt($"<text:p>{deep}</text:p>"), "a.odt"), StringComparison.Ordinal);
        Assert.Contains("content.xml", Refuse(new OdtReader(), Zip(("a", "b")), "a.odt"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(@"{\rtf1\ansi One\par two \b bold\b0  end\line next}", "One\n\ntwo bold end\nnext")]
    [InlineData(@"{\rtf1\ansi\ansicpg1252 na\'efve \u8211? \uc2\u1046\'c6\'c6x \'93q\'94}", "naïve – Жx “q”")]
    [InlineData(@"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial Cyr;}}\f1 \'cf\'f0\'e8\f0 \'e9}", "Приé")]
    [InlineData(@"{\rtf1{\fonttbl{\f0\fcharset128 Mincho;}}\f0\'93\'fa\'96\'7b}", "日本")]
    [InlineData(@"{\rtf1 \u-10179?\u-8704?}", "😀")]
    [InlineData(@"{\rtf1{\info{\title T}}{\*\generator X;}{\header H}{\stylesheet{\s1 heading;}}{\pict 00ff}text}", "text")]
    [InlineData(@"{\rtf1 a{\v hidden}{\deleted gone}b\v c\v0 d}", "abd")]
    [InlineData(@"{\rtf1{\field{\*\fldinst HYPERLINK ""x""}{\fldrslt link}} after}", "link after")]
    [InlineData(@"{\rtf1\pard\outlinelevel1 Head\par\pard body\par}", "## Head\n\nbody")]
    [InlineData(@"{\rtf1 a{\footnote\pard the note\par more}b\par c}", "a[^1]b\n\nc\n\n[^1]: the note more")]
    [InlineData(@"{\rtf1\trowd\pard\intbl a\par b\cell\cell c\cell\row\pard after}", "a b | | c\nafter")]
    [InlineData(@"{\rtf1\pard{\listtext 1.\tab}one\par{\pntext\f1\'b7\tab}two\par}", "1. one\n\n- two")]
    [InlineData(@"{\rtf1 x{\upr{old}{\*\ud{\u1046?}}}y}", "xЖy")]
    [InlineData(@"{\rtf1 a\bin4 {{}}b\{c\}\\\~d\_e}", "ab{c}\\ d-e")]
    [InlineData(@"{\rtf1{\shp{\*\shpinst{\sp{\sn n}{\sv v}}{\shptxt box\par}}{\shprslt box}}x}", "box\n\nx")]
    public void Rtf_is_read(string rtf, string text) => Assert.Equal(text, Read(new RtfReader(), rtf, "a.rtf"));

    [Fact]
    public void Rtf_that_is_cut_or_too_deep_or_something_else_is_refused()
    {
        Assert.Contains("truncated", Refuse(new RtfReader(), @"{\rtf1 {\b x"u8.ToArray(), "a.rtf"), StringComparison.Ordinal);
        Assert.Contains("{\\rtf", Refuse(new RtfReader(), "plain"u8.ToArray(), "a.rtf"), StringComparison.Ordinal);
        var deep = Encoding.ASCII.GetBytes(@"{\rtf1 " + new string('{', 100_000));
        Assert.Contains("nested", Refuse(new RtfReader(), deep, "a.rtf"), StringComparison.Ordinal);
        Assert.Contains(
            "code page 12345",
            Refuse(new RtfReader(), @"{\rtf1\ansicpg12345 a}"u8.ToArray(), "a.rtf"),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("a 100\\% b % note\nc", "a 100\\% b \nc")]
    [InlineData("% only\nx{%\n  y}%\n", "x{%\n  y}%")]
    [InlineData("\\verb|%| and \\url{a%20b} % gone\n", "\\verb|%| and \\url{a%20b} ")]
    [InlineData("\\begin{verbatim}\n% kept\n\\end{verbatim}\n% gone\n", "\\begin{verbatim}\n% kept\n\\end{verbatim}")]
    [InlineData("a\n\\begin{comment}\ngone\n\\end{comment}\nb\\\\% gone\n\\end{document}\nrest", "a\nb\\\\%\n\\end{document}")]
    public void Tex_loses_its_comments_only(string source, string text) => Assert.Equal(text, Read(new TexReader(), source, "a.tex"));

    [Fact]
    public void Srt_gives_what_is_said_once() =>
        Assert.Equal(
            "Hello there.\nHow are you? 7\nFine.",
            Read(
                new SubtitleReader(),
                "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>Hello</i> there.\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000 X1:1\r\n{\\an8}How "
                    + "are you?\r\n7\r\n\r\n"
                    + "3\n00:00:05,000 --> 00:00:06,000\n7\nFine.\n",
                "a.srt"
            )
        );

    [Fact]
    public void Vtt_gives_speakers_and_leaves_out_styles() =>
        Assert.Equal(
            "Ann: Rock & roll\nagain",
            Read(
                new SubtitleReader(),
                "WEBVTT - title\n\nSTYLE\n::cue { color: red }\n\nNOTE not said\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v.loud "
                    + "Ann>Rock &amp; "
                    + "<c.x>roll</c></v>\n\n00:02.000 --> 00:03.000\n<00:02.500><c>again</c>\n",
                "a.vtt"
            )
        );

    [Fact]
    public void Notebook_keeps_texts_code_and_what_it_printed() =>
        Assert.Equal(
            "# Title\ntext\n\n```julia\nx = 1\n```\n\n```\n1\n2\n```",
            Read(
                new NotebookReader(),
                """
                {"metadata":{"language_info":{"name":"julia"}},"nbformat":4,"cells":[
                {"cell_type":"markdown","source":["# Title\n","text"]},
                {"cell_type":"code","source":"x = 1","outputs":[{"output_type":"stream","text":["1\n"]},
                {"output_type":"execute_result","data":{"text/plain":["2"]}},
                {"output_type":"display_data","data":{"image/png":"AAAA","text/plain":"<Figure>"}},
                {"output_type":"error","traceback":["no"]}]},{"cell_type":"code","source":[],"outputs":[]}]}
                """,
                "a.ipynb"
            )
        );

    [Theory]
    [InlineData("[]")]
    [InlineData("{\"cells\":[{\"cell_type\":\"code\",\"source\":[1]}]}")]
    [InlineData("no json")]
    public void Notebook_with_something_else_is_refused(string json) =>
        Assert.Contains("notebook", Refuse(new NotebookReader(), Encoding.UTF8.GetBytes(json), "a.ipynb"), StringComparison.Ordinal);

    [Fact]
    public void Email_gives_its_headers_and_plain_body() =>
        Assert.Equal(
            "# Grüße aus Holm\n\nFrom: \"Ann\" <ann@example.org>\nTo: bob@example.org\nDate: 2020-01-02 03:04 +01:00\n\nThe bridge é is "
                + "open.\n\n"
                + "[Attachment: plan.pdf]",
            Read(
                new EmailReader(),
                "From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= aus Holm\n"
                    + "Date: Thu, 2 Jan 2020 03:04:00 +0100\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n"
                    + "Content-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain; charset=iso-8859-1\n"
                    + "Content-Transfer-Encoding: quoted-printable\n\nThe bridge =E9 is=\n open.\n--a\nContent-Type: "
                    + "text/html\n\n<p>html</p>\n--a--\n"
                    + "--m\nContent-Type: application/pdf; name=plan.pdf\nContent-Disposition: attachment; "
                    + "filename=plan.pdf\n\nxx\n--m--\n",
                "a.eml"
            )
        );

    [Fact]
    public void Email_with_html_only_and_a_mailbox_are_read()
    {
        Assert.Equal(
            "# Hi\n\nFrom: a@b.c\n\nSeen\n\n- one",
            Read(
                new EmailReader(),
                "From: a@b.c\nSubject: Hi\nContent-Type: text/html; charset=utf-8\n\n<p>Seen</p><p "
                    + "style='display:none'>not</p><ul><li>one</ul>\n",
                "a.eml"
            )
        );
        Assert.Equal(
            ["# One\n\nFrom: a@b.c\n\n1\n", "# Two\n\nFrom: a@b.c\n\n2\n"],
            ReadAll(
                new EmailReader(),
                Encoding.UTF8.GetBytes(
                    "From a@b.c Thu Jan  2 03:04:00 2020\nFrom: a@b.c\nSubject: One\n\n1\n\n"
                        + "From a@b.c Thu Jan  2 03:05:00 2020\nFrom: a@b.c\nSubject: Two\n\n2\n"
                ),
                "a.mbox"
            )
        );
    }

    [Fact]
    public void Csv_without_a_column_text_is_one_table() =>
        Assert.Equal(
            "name | note\nAnn | two lines, \"quoted\"\nBob",
            Read(new CsvReader(), "name;note\nAnn;\"two\nlines, \"\"quoted\"\"\"\n;\nBob;\n", "a.csv")
        );

    [Fact]
    public void Csv_with_a_column_text_gives_a_document_a_row()
    {
        Assert.Equal(
            ["one, two", "three\nfour", ""],
            ReadAll(new CsvReader(), "id,text\n1,\"one, two\"\n2,\"three\nfour\"\n3,\n"u8.ToArray(), "a.csv")
        );
        Assert.Equal(
            ["he said \"no\" and", "a \"b\""],
            ReadAll(new CsvReader(), "text\tid\nhe said \"no\" and\t1\n\"a \"\"b\"\"\"\t2\n"u8.ToArray(), "a.tsv")
        );
    }

    [Fact]
    public void Csv_rows_are_conversations()
    {
        using var stream = new MemoryStream("instruction,input,output\nq1,,a1\nq2,x,\"a2, b\"\n"u8.ToArray());
        var format = new ConversationFormat();
        Assert.Equal(
            ["a.csv:2 user:q1|assistant:a1", "a.csv:3 user:q2\nx|assistant:a2, b"],
            new CsvReader()
                .ReadRecords(stream, "a.csv")
                .SelectMany(format.Read)
                .Select(c => $"{c.Origin} " + string.Join('|', c.Messages.Select(m => $"{m.Role}:{m.Content}")))
        );
    }

    [Fact]
    public void Csv_rows_that_do_not_fit_are_refused_with_their_line()
    {
        static string Fail(string text)
        {
            using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text));
            return Assert.Throws<DataException>(() => new CsvReader().ReadRecords(stream, "a.csv").Count()).Message;
        }
        Assert.Contains("a.csv:3", Fail("a,b\n1,2\n1,2,3\n"), StringComparison.Ordinal);
        Assert.Contains("'a'", Fail("a,a\n1,2\n"), StringComparison.Ordinal);
        Assert.Contains("quotation marks", Fail("a,b\nx \"y\" z,2\n"), StringComparison.Ordinal);
        Assert.Contains("not UTF-8", Refuse(new CsvReader(), [(byte)'a', 0xFF, (byte)'\n'], "a.csv"), StringComparison.Ordinal);
    }

    private static byte[] Workbook(string sheets, params string[] rows)
    {
        const string main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
            relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            package = "http://schemas.openxmlformats.org/package/2006/relationships";
        return Zip([
            (
                "_rels/.rels",
                $"<Relationships xmlns='{package}'><Relationship Id='r1' Type='{relations}/officeDocument' "
                    + "Target='xl/workbook.xml'/></Relationships>"
            ),
            ("xl/workbook.xml", $"<workbook xmlns='{main}' xmlns:r='{relations}'><sheets>{sheets}</sheets></workbook>"),
            (
                "xl/_rels/workbook.xml.rels",
                $"<Relationships xmlns='{package}'>"
                    + string.Concat(
                        rows.Select(
                            (_, i) => $"<Relationship Id='r{i + 1}' Type='{relations}/worksheet' Target='worksheets/s{i + 1}.xml'/>"
                        )
                    )
                    + $"<Relationship Id='st' Type='{relations}/styles' Target='styles.xml'/></Relationships>"
            ),
            (
                "xl/styles.xml",
                $"<styleSheet xmlns='{main}'><cellXfs count='2'><xf numFmtId='0'/><xf numFmtId='14'/></cellXfs></styleSheet>"
            ),
            .. rows.Select((r, i) => ($"xl/worksheets/s{i + 1}.xml", $"<worksheet xmlns='{main}'><sheetData>{r}</sheetData></worksheet>")),
        ]);
    }

    [Fact]
    public void Xlsx_gives_rows_with_dates_and_results_and_no_hidden_sheets() =>
        Assert.Equal(
            ["# Costs\n\nday | sum | ok\n2020-01-02 | 0.3 | TRUE\n\n# More\n\nlast\n"],
            ReadAll(
                new SpreadsheetReader(),
                Workbook(
                    "<sheet name='Costs' sheetId='1' r:id='r1'/><sheet name='No' sheetId='2' state='hidden' r:id='r2'/><sheet "
                        + "name='More' sheetId='3' r:id='r3'/>",
                    "<row r='1'><c r='A1' t='inlineStr'><is><t>day</t></is></c><c r='B1' t='inlineStr'><is><t>sum</t></is></c><c r='C1' "
                        + "t='inlineStr'><is><t>ok</t></is></c></row>"
                        + "<row r='3'><c r='A3' s='1'><v>43832</v></c><c r='B3'><f>0.1+0.2</f><v>0.30000000000000004</v></c><c r='C3' "
                        + "t='b'><v>1</v></c></row>",
                    "<row r='1'><c r='A1'><v>1</v></c></row>",
                    "<row r='1'><c r='A1' t='inlineStr'><is><t>last</t></is></c></row>"
                ),
                "a.xlsx"
            )
        );

    [Theory]
    [InlineData(
        "<row r='1'><c r='A1'><v>1</v></c></row><row r='2000000'><c r='A2000000'><v>1</v></c></row>",
        "1,048,576 rows in the sheet 'One'"
    )]
    [InlineData("<row r='1'><c r='XFD1'><v>1</v></c></row><row r='3000'><c r='A3000'><v>1</v></c></row>", "33,554,432 cells")]
    public void Xlsx_with_more_rows_or_cells_than_anyone_writes_is_refused_by_name(string rows, string named) =>
        Assert.Contains(
            named,
            Refuse(new SpreadsheetReader(), Workbook("<sheet name='One' sheetId='1' r:id='r1'/>", rows), "a.xlsx"),
            StringComparison.Ordinal
        );

    [Fact]
    public void Xlsx_with_more_shared_texts_than_anyone_writes_is_refused_by_name()
    {
        var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            using var part = zip.CreateEntry("xl/sharedStrings.xml", CompressionLevel.Fastest).Open();
            part.Write("<sst>"u8);
            var some = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("<si/>", 1 << 13)));
            for (var i = 0; i <= 1 << 10; i++)
                part.Write(some);
            part.Write("</sst>"u8);
        }
        Assert.Contains("8,388,608 shared texts", Refuse(new SpreadsheetReader(), bytes.ToArray(), "a.xlsx"), StringComparison.Ordinal);
    }

    [Fact]
    public void Xlsx_that_is_something_else_is_refused() =>
        Assert.Contains("Excel", Refuse(new SpreadsheetReader(), "plain text"u8.ToArray(), "a.xlsx"), StringComparison.Ordinal);

    [Theory]
    [InlineData("utf-16", "a.txt")]
    [InlineData("utf-16BE", "a.md")]
    [InlineData("utf-32", "a.rst")]
    [InlineData("utf-8", "a.txt")]
    public void Text_with_a_byte_order_mark_is_read(string encoding, string file)
    {
        var used = Encoding.GetEncoding(encoding);
        const string text = "Grüße ж 世界 😀\nline";
        Assert.Equal([text], ReadAll(DocumentReaders.Plain[0], [.. used.Preamble, .. used.GetBytes(text)], file));
        var line = "{\"text\":\"Grüße ж\"}\n";
        Assert.Equal(["Grüße ж"], ReadAll(DocumentReaders.Plain[1], [.. used.Preamble, .. used.GetBytes(line)], "a.jsonl"));
    }

    [Fact]
    public void Text_that_only_says_it_is_UTF16_is_refused() =>
        Assert.Contains(
            "UTF-16",
            Refuse(DocumentReaders.Plain[0], [0xFF, 0xFE, 0x00, 0xD8, 0x41, 0x00], "a.txt"),
            StringComparison.Ordinal
        );
}
