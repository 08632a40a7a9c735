using LongLora.Documents.Pdf;
using LongLora.Runtime;
using UglyToad.PdfPig.Content;
using UglyToad.PdfPig.Core;
using UglyToad.PdfPig.Fonts.Standard14Fonts;
using UglyToad.PdfPig.Writer;
using PdfLine = LongLora.Documents.Pdf.PdfLine;

namespace LongLora.Documents.Tests.Pdf;

public class PdfReaderTests : TemporaryFolder
{
    private static string Read(string path)
    {
        using var stream = File.OpenRead(path);
        return Read(stream, path);
    }

    private static string Read(Stream stream, string path = "made.pdf") =>
        Assert.Single(new PdfReader().Read(stream, path)).Text.ReadToEnd();

    [Fact]
    public void Read_two_column_paper_gives_every_paragraph_whole_and_in_order()
    {
        var paragraphs = Read(Material("two-columns.pdf")).Split("\n\n");
        var at = -1;
        foreach (var expected in File.ReadLines(Material("two-columns.txt")))
        {
            at = Array.IndexOf(paragraphs, expected, at + 1);
            Assert.True(at >= 0, $"missing or out of order: {expected}");
        }
        // What else there is: two lines of author, the date, two footnotes, the figure with its caption. No running header, no page number.
        var rest = paragraphs.Except(File.ReadLines(Material("two-columns.txt"))).ToList();
        Assert.Equal(
            ["Charles Darwin", "Down House, Kent", "1859", "1A note", "2A second", "A wide figure", "Figure 1: A"],
            rest.Select((r, i) => r[..Math.Min(r.Length, new[] { 99, 99, 99, 7, 9, 99, 11 }[i])])
        );
    }

    /// <summary>Draws lines of words at places, in the order given.</summary>
    private static MemoryStream Draw(params (double X, double Y, string Text)[][] pages) => Draw(_ => Standard14Font.TimesRoman, pages);

    private static MemoryStream Draw(Func<string, Standard14Font> fontOf, params (double X, double Y, string Text)[][] pages)
    {
        var builder = new PdfDocumentBuilder();
        var fonts = new[] { Standard14Font.TimesRoman, Standard14Font.Courier }.ToDictionary(f => f, builder.AddStandard14Font);
        foreach (var lines in pages)
        {
            var page = builder.AddPage(PageSize.A4);
            foreach (var (x, y, text) in lines)
                page.AddText(text, 10, new PdfPoint(x, y), fonts[fontOf(text)]);
        }
        return new MemoryStream(builder.Build());
    }

    private static (double, double, string)[] Column(double x, double top, params string[] lines) =>
        [.. lines.Select((line, i) => (x, top - 12 * i, line))];

    private static readonly string[] s_left =
    [
        "The first column begins with this line and",
        "goes on with the second, which ends in exam-",
        "ple, then a third line which is as long as the",
        "others are, and it does not end here but on",
    ];

    private static readonly string[] s_right =
    [
        "the other side of the page, where the second",
        "column has more of it. A well-known and long-",
        "known word keeps its hyphen when it stands",
        "elsewhere as long-known in the same text.",
    ];

    private const string Joined =
        "The first column begins with this line and goes on with the second, which ends in example, then a third line which is as long "
        + "as the others are, and it does not end "
        + "here but on the other side of the page, where the second column has more of it. A well-known and long-known word keeps its "
        + "hyphen when it stands elsewhere as long-known in the same text.";

    [Fact]
    public void Read_columns_come_in_reading_order_whatever_the_order_of_drawing()
    {
        (double, double, string)[] left = Column(60, 700, s_left),
            right = Column(310, 700, s_right);
        Assert.Equal(Joined, Read(Draw([.. left, .. right])));
        Assert.Equal(Joined, Read(Draw([.. right, .. left])));
        Assert.Equal(Joined, Read(Draw([.. left.Zip(right).SelectMany(p => new[] { p.Second, p.First })])));
    }

    [Fact]
    public void Read_text_as_wide_as_the_page_ends_a_pair_of_columns()
    {
        var wide =
            "A line that is as wide as the page stands between two pairs of columns and is read after the first of them, before the "
            + "second.";
        var text = Read(
            Draw([
                .. Column(60, 700, s_left),
                .. Column(310, 700, s_right),
                (60, 640, wide),
                .. Column(60, 610, s_left),
                .. Column(310, 610, s_right),
            ])
        );
        Assert.Equal($"{Joined}\n\n{wide}\n\n{Joined}", text);
    }

    [Fact]
    public void Read_running_headers_and_page_numbers_are_dropped()
    {
        var pages = Enumerable
            .Range(1, 4)
            .Select(n =>
                new (double, double, string)[]
                {
                    (60, 800, n % 2 == 0 ? $"{n + 10} The Author" : $"A Title that Changes {n + 10}"),
                    (60, 700, $"Page {"abcd"[n - 1]} has one sentence."),
                    (290, 30, $"- {n + 10} -"),
                }
            );
        Assert.Equal(
            "Page a has one sentence.\n\nPage b has one sentence.\n\nPage c has one sentence.\n\nPage d has one sentence.",
            Read(Draw([.. pages]))
        );
    }

    private static PdfLine Line(double baseline, string text) => new(text, 60, 60 + 5 * text.Length, baseline, 10, false, 20);

    private static List<string> WithoutFurniture(int pages, Func<int, IEnumerable<PdfLine>> page)
    {
        var all = Enumerable.Range(0, pages).Select(p => (Height: 800.0, Regions: new List<PdfRegion> { new([.. page(p)]) })).ToList();
        PageFurniture.Remove(all);
        return [.. all.SelectMany(p => p.Regions).SelectMany(r => r.Lines).Select(l => l.Text)];
    }

    [Fact]
    public void Remove_keeps_first_and_last_lines_that_are_text()
    {
        // Numbers in the text, lines that come again at other heights, and digits of other scripts.
        string[] texts =
        [
            "In 1859 it began",
            "a number of 4",
            "\u1A90 Tham digit",
            "17 of them",
            "the same words",
            "the same words",
            "last line",
        ];
        Assert.Equal(texts, WithoutFurniture(texts.Length, p => [Line(700 - 10 * p, texts[p])]));
    }

    [Fact]
    public void Remove_takes_headers_that_change_with_the_chapter_by_their_page_number()
    {
        var kept = WithoutFurniture(8, p =>
            [
                Line(780, p % 2 == 0 ? $"{p + 31} Chapter {"ABCD"[p / 2]}" : $"Section {p} of it {p + 31}"),
                Line(700, $"text {(char)('a' + p)}"),
                Line(690, $"more-{(char)('k' + p)}k"),
            ]
        );
        Assert.Equal(Enumerable.Range(0, 8).SelectMany(p => new[] { $"text {(char)('a' + p)}", $"more-{(char)('k' + p)}k" }), kept);
    }

    [Fact]
    public void Read_lists_and_indented_paragraphs_begin_new_ones() =>
        Assert.Equal(
            "A paragraph of two lines, the second one of which is shorter than the first.\n\nAn indented line begins another paragraph, "
                + "which is long enough to have a second line too.\n\n"
                + "1. An item of a list whose text takes more than one line to be written out here\n\n2. Another item.",
            Read(
                Draw([
                    (60, 700, "A paragraph of two lines, the second one of which is shorter"),
                    (60, 688, "than the first."),
                    (75, 676, "An indented line begins another paragraph, which is long"),
                    (60, 664, "enough to have a second line too."),
                    (60, 652, "1. An item of a list whose text takes more than one line to"),
                    (72, 640, "be written out here"),
                    (60, 628, "2. Another item."),
                ])
            )
        );

    [Fact]
    public void Read_table_comes_row_by_row() =>
        Assert.Equal(
            "name size\nalpha 1\nbeta 22\ngamma 333",
            Read(
                Draw([
                    .. new[] { ("name", "size"), ("alpha", "1"), ("beta", "22"), ("gamma", "333") }.SelectMany(
                        (r, i) => new[] { (60.0, 700 - 20.0 * i, r.Item1), (300.0, 700 - 20.0 * i, r.Item2) }
                    ),
                ])
            )
        );

    [Fact]
    public void Read_code_keeps_its_lines_and_indentation() =>
        Assert.Equal(
            "Above all this.\n\nAnd below it.\n\nA loop:\n\nfor x in y:\n    print(x)\n\nprint(y)\n\nand so on.",
            Read(
                Draw(
                    text => text.EndsWith('.') || text.StartsWith('A') ? Standard14Font.TimesRoman : Standard14Font.Courier,
                    [
                        (60, 760, "Above all this."),
                        (60, 730, "And below it."),
                        (60, 700, "A loop:"),
                        (60, 688, "for x in y:"),
                        (84, 676, "print(x)"),
                        (60, 652, "print(y)"),
                        (60, 640, "and so on."),
                    ]
                )
            )
        );

    [Fact]
    public void Read_table_of_contents_keeps_its_lines() =>
        Assert.Equal(
            "1 Introduction ... 3\n2 What came before it ... 14",
            Read(Draw([(60, 700, "1 Introduction . . . . . . . . . . . . . . 3"), (60, 688, "2 What came before it . . . . . . . . . 14")]))
        );

    [Theory]
    [InlineData("11/29/26, 2:22 PM The printed page", "https://example.org/a?b=1 1/1")]
    [InlineData("29.11.2026, 14:22 Die Seite", "file:///home/me/page.html 1/3")]
    [InlineData("The printed page https://example.org/a", "1 of 1 11/29/2026, 2:22 PM")]
    public void Read_what_a_browser_prints_around_a_page_is_dropped(string above, string below) =>
        Assert.Equal("Text of the page.", Read(Draw([(20, 825, above), (60, 700, "Text of the page."), (20, 12, below)])));

    [Fact]
    public void Read_dates_and_addresses_within_a_page_stay() =>
        Assert.Equal(
            "11/29/26, 2:22 PM was the time.\n\nSee https://example.org/a",
            Read(Draw([(60, 700, "11/29/26, 2:22 PM was the time."), (60, 660, "See https://example.org/a")]))
        );

    [Theory]
    [InlineData(9.2)]
    [InlineData(10.5)]
    public void Read_narrow_gutter_below_text_as_wide_as_the_page_is_found(double gutter)
    {
        var wide = "Text as wide as the page stands above the columns and is read before them, whatever it is, to the end.";
        // The width of the longest line of the left column.
        var width = DrawnWidth(s_left);
        Assert.Equal(
            $"{wide}\n\n{Joined}",
            Read(Draw([(60, 730, wide), .. Column(60, 700, s_left), .. Column(60 + width + gutter, 700, s_right)]))
        );
    }

    private static double DrawnWidth(string[] lines)
    {
        using var pdf = UglyToad.PdfPig.PdfDocument.Open(Draw(Column(60, 700, lines)).ToArray());
        return pdf.GetPage(1).Letters.Max(l => l.EndBaseLine.X) - 60;
    }

    [Theory]
    [InlineData("hebrew")]
    [InlineData("arabic")]
    [InlineData("mixed")]
    [InlineData("chinese")]
    public void Read_printed_page_gives_the_text_of_its_source(string name) =>
        Assert.Equal(File.ReadAllText(Material($"{name}.txt")).TrimEnd(), Read(Material($"{name}.pdf")));

    [Theory]
    [InlineData("םולש", true, "שלום")]
    [InlineData(".1932 תנשב חתפנ", true, "נפתח בשנת 1932.")]
    [InlineData("(ךרעב) 12.5% היה", true, "היה 12.5% (בערך)")]
    [InlineData("קוס London Bridge תמגוד", true, "דוגמת London Bridge סוק")]
    [InlineData("1931-1932 םינש", true, "שנים 1931-1932")]
    [InlineData("2 1 םירפסמ", true, "מספרים 1 2")]
    [InlineData("ארתמ ٢١٤", false, "מתרא ٢١٤")]
    [InlineData("The word םלוע םולש means 2 things", false, "The word שלום עולם means 2 things")]
    [InlineData("from םלוע 12 םולש on", false, "from שלום 12 עולם on")]
    [InlineData("plain (text) 12", true, "plain (text) 12")]
    public void ToLogical_is_the_order_of_reading(string drawn, bool isRightToLeft, string read) =>
        Assert.Equal(read, BidiText.ToLogical(drawn, isRightToLeft, isDrawn: true));

    [Theory]
    [InlineData("(ךרעב) a", 2)]
    [InlineData(")ךרעב( a", -2)]
    [InlineData("(a) ךרעב", 0)]
    public void CountDrawnBrackets_only_those_at_right_to_left_letters_tell(string line, int count) =>
        Assert.Equal(count, BidiText.CountDrawnBrackets(line));

    [Theory]
    [InlineData("\uFEFB", "لا")]
    [InlineData("\uFE91\uFEB4\uFEE2", "بسم")]
    [InlineData("\uFB2A", "שׁ")]
    [InlineData("\uFE76", "\u064E")]
    [InlineData("\uFDFA", "\uFDFA")]
    public void Normalize_presentation_forms_are_the_letters(string drawn, string written) =>
        Assert.Equal(written, RightToLeftWords.Normalize(drawn));

    [Fact]
    public void Join_letters_come_from_left_to_right_whatever_the_order_of_drawing()
    {
        // שלום with a point over its first letter, drawn from the right.
        PdfWord[] letters =
        [
            new("\u05E9", 100, 106, 700, 10, false, false),
            new("\u05C1", 105, 105.5, 700, 10, false, false),
            new("\u05DC", 95, 100, 700, 10, false, false),
            new("\u05D5", 92, 95, 700, 10, false, false),
            new("\u05DD", 86, 92, 700, 10, false, false),
            new("\u05D0", 70, 76, 700, 10, false, false),
        ];
        string[] expected = ["\u05D0", "\u05DD\u05D5\u05DC\u05E9\u05C1"];
        Assert.Equal(expected, RightToLeftWords.Join(letters).Select(w => w.Text));
        Assert.Equal(expected, RightToLeftWords.Join([.. letters.Reverse()]).Select(w => w.Text));
    }

    [Fact]
    public void Read_encrypted_file_says_so() =>
        Assert.Contains("password", Assert.Throws<DataException>(() => Read(Material("encrypted.pdf"))).Message, StringComparison.Ordinal);

    [Fact]
    public void Read_scan_says_that_it_holds_pictures_only()
    {
        // One grey pixel, as PNG.
        var pixel = Convert.FromBase64String(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
        );
        var builder = new PdfDocumentBuilder();
        for (var i = 0; i < 2; i++)
            builder.AddPage(PageSize.A4).AddPng(pixel, new PdfRectangle(0, 0, 595, 842));
        using var stream = new MemoryStream(builder.Build());
        Assert.Contains("It is a scan", Assert.Throws<DataException>(() => Read(stream)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_damaged_file_is_refused_by_name()
    {
        using var stream = new MemoryStream("%PDF-1.5 and then nothing"u8.ToArray());
        Assert.Contains("made.pdf", Assert.Throws<DataException>(() => Read(stream)).Message, StringComparison.Ordinal);
        using var cut = new MemoryStream(File.ReadAllBytes(Material("two-columns.pdf"))[..20_000]);
        Assert.Contains("made.pdf", Assert.Throws<DataException>(() => Read(cut)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("eﬃcient ﬂow", "efficient flow")]
    [InlineData("Poincar´e", "Poincaré")]
    [InlineData("G¨odel", "Gödel")]
    [InlineData("naı¨ve", "naı¨ve")]
    [InlineData("\u00A8\u0131", "ï")]
    [InlineData("𝑘+𝐀=𝜋𝟗𝛼", "k+A=π9α")]
    [InlineData("𝓏𝖟𝚣𝕒𝜴𝝏", "zzzaΩ∂")]
    [InlineData("so\u00ADft", "soft")]
    [InlineData("cut\u00AD", "cut-")]
    [InlineData("⼀⻓⼦⽂，⻑", "一长子文，長")]
    [InlineData("\uF967\uFA0E", "不\uFA0E")]
    [InlineData("ＡＢ（１）", "ＡＢ（１）")]
    public void Plain_writes_letters_as_they_are_written(string drawn, string written) =>
        Assert.Equal(written, PdfCharacters.ToPlain(drawn));
}
