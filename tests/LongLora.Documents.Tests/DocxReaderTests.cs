using System.IO.Compression;
using LongLora.Runtime;

namespace LongLora.Documents.Tests;

public class DocxReaderTests : TemporaryFolder
{
    private static string Read(Stream stream) => Assert.Single(new DocxReader().Read(stream, "made.docx")).Text.ReadToEnd();

    private static string Read(string body, params (string Name, string Xml)[] parts)
    {
        const string w =
            "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\" "
            + "xmlns:mc=\"http://schemas.openxmlformats.org/markup-compatibility/2006\"";
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, xml) in parts.Prepend(("document", $"<w:document><w:body>{body}</w:body></w:document>")))
            {
                using var writer = new StreamWriter(zip.CreateEntry($"word/{name}.xml").Open());
                writer.Write(xml.Insert(xml.IndexOf('>', StringComparison.Ordinal), " " + w));
            }
        }
        stream.Position = 0;
        return Read(stream);
    }

    private static string P(string text, string properties = "") =>
        $"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r></w:p>";

    [Fact]
    public void Read_document_of_pandoc_gives_its_structure()
    {
        using var stream = File.OpenRead(Material("pandoc.docx"));
        Assert.Equal(
            "# Title of it\n\nSome text with a note.[^1] And “quotes” – H2O.\n\n## Lists\n\n- one\n- two\n  1. inner a\n  2. inner b\n- "
                + "three\n\n1. first\n2. second\n\n"
                + "name | size\nx | 1\ny z | 2\n\nAfter a2+b2 the table.\n\n[^1]: The note itself.",
            Read(stream)
        );
    }

    [Fact]
    public void Read_tracked_deletions_hidden_text_and_field_codes_are_left_out() =>
        Assert.Equal(
            "kept and added, page 3",
            Read(
                "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText> gone</w:delText></w:r></w:del><w:ins><w:r><w:t "
                    + "xml:space=\"preserve\"> and added</w:t></w:r></w:ins>"
                    + "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:t>, page "
                    + "</w:t></w:r><w:r><w:instrText>PAGE</w:instrText></w:r><w:r><w:t>3</w:t></w:r></w:p>"
            )
        );

    [Fact]
    public void Read_words_split_over_runs_stay_whole_and_tabs_are_spaces() =>
        Assert.Equal(
            "Long\nLora here",
            Read(
                "<w:p><w:r><w:t>Lo</w:t></w:r><w:r><w:t>ng</w:t><w:br/><w:t>Lo</w:t></w:r>"
                    + "<w:r><w:t>ra</w:t><w:tab/><w:t>here</w:t></w:r></w:p>"
            )
        );

    [Fact]
    public void Read_headings_come_from_styles_and_those_they_are_based_on()
    {
        const string styles =
            "<w:styles><w:style w:styleId=\"H\"><w:name w:val=\"heading 2\"/></w:style><w:style w:styleId=\"Mine\"><w:name "
            + "w:val=\"mine\"/><w:basedOn w:val=\"H\"/></w:style></w:styles>";
        Assert.Equal(
            "## One\n\nText.\n\n### Two",
            Read(P("One", "<w:pStyle w:val=\"Mine\"/>") + P("Text.") + P("Two", "<w:outlineLvl w:val=\"2\"/>"), ("styles", styles))
        );
    }

    [Fact]
    public void Read_text_box_is_read_once() =>
        Assert.Equal(
            "before\n\nboxed\n\nafter",
            Read(
                "<w:p><w:r><w:t>before</w:t></w:r><w:r><mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent>"
                    + P("boxed")
                    + "</w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>"
                    + P("boxed")
                    + "</w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r></w:p>"
                    + P("after")
            )
        );

    private static MemoryStream Pack(params (string Name, string Xml)[] parts)
    {
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, xml) in parts)
            {
                using var writer = new StreamWriter(zip.CreateEntry(name).Open());
                writer.Write(xml);
            }
        }
        stream.Position = 0;
        return stream;
    }

    private static string Relationships(params (string Kind, string Target)[] relations) =>
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">"
        + string.Concat(
            relations.Select(
                (r, i) => $"<Relationship Id=\"r{i}\" Type=\"http://schemas.openxmlformats.org/x/{r.Kind}\" Target=\"{r.Target}\"/>"
            )
        )
        + "</Relationships>";

    [Theory]
    [InlineData("word/document2.xml", "word/document2.xml", "styles9.xml")]
    [InlineData("/Word/Document22.xml", "word/document22.xml", "../word/styles9.xml")]
    [InlineData("text/main.xml", "text/main.xml", "/word/styles9.xml")]
    public void Read_parts_are_found_through_their_relationships(string named, string stored, string styles)
    {
        const string w = "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"";
        var (folder, name) = (
            stored[..stored.IndexOf('/', StringComparison.Ordinal)],
            stored[(stored.IndexOf('/', StringComparison.Ordinal) + 1)..]
        );
        Assert.Equal(
            "## Written in a browser[^1]\n\n[^1]: A note",
            Read(
                Pack(
                    ("_rels/.rels", Relationships(("metadata/core-properties", "docProps/core.xml"), ("officeDocument", named))),
                    ($"{folder}/_rels/{name}.rels", Relationships(("styles", styles), ("footnotes", "/word/notes/f.xml"))),
                    (
                        stored,
                        $"<w:document {w}><w:body><w:p><w:pPr><w:pStyle w:val=\"H\"/></w:pPr><w:r><w:t>Written in a browser</w:t>"
                            + "<w:footnoteReference w:id=\"1\"/></w:r></w:p></w:body></w:document>"
                    ),
                    ("word/styles9.xml", $"<w:styles {w}><w:style w:styleId=\"H\"><w:name w:val=\"heading 2\"/></w:style></w:styles>"),
                    (
                        "word/notes/f.xml",
                        $"<w:footnotes {w}><w:footnote w:id=\"1\"><w:p><w:r><w:t>A note</w:t></w:r></w:p></w:footnote></w:footnotes>"
                    )
                )
            )
        );
    }

    [Fact]
    public void Read_text_box_in_a_cell_is_read_once()
    {
        static string Box(string text) =>
            "<w:r><mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent>"
            + text
            + "</w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>"
            + text
            + "</w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r>";
        static string Cell(string inner) => $"<w:tc><w:tcPr/>{inner}</w:tc>";
        var nested = $"<w:tbl><w:tr>{Cell(P("in"))}{Cell(P("ner"))}</w:tr></w:tbl>";
        Assert.Equal(
            "left boxed twice | right\nin ner | last",
            Read(
                $"<w:tbl><w:tr>{Cell($"<w:p><w:r><w:t>left</w:t></w:r>{Box(P("boxed") + P("twice"))}</w:p>")}{Cell(P("right"))}</w:tr>"
                    + $"<w:sdt><w:sdtContent><w:tr>{Cell(nested + P(""))}<w:sdt><w:sdtContent>{Cell(P("last"))}"
                    + "</w:sdtContent></w:sdt></w:tr></w:sdtContent></w:sdt>"
                    + $"<w:tr><w:trPr><w:del/></w:trPr>{Cell(P("gone"))}</w:tr></w:tbl>"
            )
        );
    }

    [Fact]
    public void Read_elements_nested_too_deeply_are_refused() =>
        Assert.Contains(
            "made.docx because its elements are nested too deeply",
            Assert
                .Throws<DataException>(() =>
                    Read(string.Concat(Enumerable.Repeat("<w:p>", 20_000)) + string.Concat(Enumerable.Repeat("</w:p>", 20_000)))
                )
                .Message,
            StringComparison.Ordinal
        );

    [Fact]
    public void Read_other_files_are_refused_with_what_they_are()
    {
        Assert.Contains(
            "made.docx",
            Assert.Throws<DataException>(() => Read(new MemoryStream("no zip"u8.ToArray()))).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "encrypted",
            Assert.Throws<DataException>(() => Read(new MemoryStream([0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1]))).Message,
            StringComparison.Ordinal
        );
        var empty = new MemoryStream();
        new ZipArchive(empty, ZipArchiveMode.Create, leaveOpen: true).Dispose();
        Assert.Contains("word/document.xml", Assert.Throws<DataException>(() => Read(empty)).Message, StringComparison.Ordinal);
        Assert.Contains(
            "DTD",
            Assert
                .Throws<DataException>(() =>
                    Read("", ("document2", "<x>"), ("styles", "<!DOCTYPE x [<!ENTITY a \"b\">]><w:styles></w:styles>"))
                )
                .Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("page.html", "<html><body><h1>Inside</h1><p>A <b>web</b> page.</p></body></html>", "# Inside\n\nA web page.")]
    [InlineData("note.txt", "A plain text.", "A plain text.")]
    [InlineData("note.rtf", "{\\rtf1 Rich {\\b text}.}", "Rich text.")]
    public void Read_document_of_another_format_inside_stands_in_its_place(string name, string content, string expected) =>
        Assert.Equal($"before\n\n{expected}\n\nafter", ReadWithForeign(name, content));

    [Fact]
    public void Read_document_of_an_unknown_format_inside_is_refused_by_name() =>
        Assert.Contains(
            "made.docx/word/shape.bin",
            Assert.Throws<DataException>(() => ReadWithForeign("shape.bin", "?")).Message,
            StringComparison.Ordinal
        );

    private static string ReadWithForeign(string name, string content)
    {
        const string w = "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
            r = "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
            package = "http://schemas.openxmlformats.org/package/2006/relationships";
        var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            void Write(string part, string text)
            {
                using var writer = new StreamWriter(zip.CreateEntry(part).Open());
                writer.Write(text);
            }
            Write(
                "word/document.xml",
                $"<w:document xmlns:w='{w}' xmlns:r='{r}'><w:body>{P("before")}<w:altChunk r:id='c1'/>{P("after")}</w:body></w:document>"
            );
            Write(
                "word/_rels/document.xml.rels",
                $"<Relationships xmlns='{package}'><Relationship Id='c1' Type='{r}/aFChunk' Target='/word/{name}'/></Relationships>"
            );
            Write($"word/{name}", content);
        }
        stream.Position = 0;
        return Read(stream);
    }
}
