using System.Text;

namespace LongLora.Documents.Tests;

public class HtmlReaderTests
{
    private static string Read(string html) => Read(Encoding.UTF8.GetBytes(html));

    private static string Read(byte[] html)
    {
        using var stream = new MemoryStream(html);
        return Assert.Single(new HtmlReader().Read(stream, "page.html")).Text.ReadToEnd();
    }

    [Fact]
    public void Read_page_keeps_main_part_and_drops_what_surrounds_it() =>
        Assert.Equal(
            "# On Rivers\n\nThe Thames flows.\n\nIt is long & wide.",
            Read(
                """
                <html><head><title>T</title><style>p{}</style></head><body><nav>Home | About</nav><header>Site</header>
                <main><h1>On   Rivers</h1><p>The <b>Thames</b>
                  flows.</p><script>alert(1)</script><p>It is long &amp; wide.</p><div hidden>x</div></main><footer>(c)</footer></body></html>
                """
            )
        );

    [Fact]
    public void Read_lists_tables_and_preformatted_text_keep_their_form() =>
        Assert.Equal(
            "Before\n\n- one\n- two\n  1. a\n  2. b\n- three\n\nname | size\nx | 1\n\nint  a;\n  b();\n\nafter",
            Read(
                "Before<ul><li>one</li><li><p>two</p><ol><li>a<li>b</ol></li><li>three</ul>"
                    + "<table><tr><th>name</th><th>size</th></tr><tr><td>x</td><td><p>1</p></td></tr></table><pre>int  a;\n  "
                    + "b();</pre>after"
            )
        );

    [Fact]
    public void Read_inline_marks_and_line_breaks_do_not_split_words() =>
        Assert.Equal("H2O is water\nand x", Read("<p>H<sub>2</sub>O is <i>water</i><br>and <a href='#'>x</a></p>"));

    [Fact]
    public void Read_formula_becomes_its_tex() =>
        Assert.Equal(
            "so $a^2$ holds",
            Read("<p>so <math><mi>a</mi><annotation encoding='application/x-tex'>a^2</annotation></math> holds</p>")
        );

    [Fact]
    public void Read_old_encoding_is_taken_from_the_page() =>
        Assert.Equal(
            "naïve – “x”",
            Read([
                .. "<html><head><meta charset=windows-1252></head><body>na"u8,
                0xEF,
                .. "ve "u8,
                0x96,
                .. " "u8,
                0x93,
                (byte)'x',
                0x94,
                .. "</body></html>"u8,
            ])
        );

    [Theory]
    [InlineData(
        "<form id=aspnetForm><input type=hidden name=__VIEWSTATE value=abc><h1>Council report</h1><p>The bridge opened in 1932.</p></form>",
        "# Council report\n\nThe bridge opened in 1932."
    )]
    [InlineData(
        "<form><div><p>The bridge opened in 1932.</p><label>Name</label><input><select><option>one</option></select></div></form>",
        "The bridge opened in 1932.\n\nName"
    )]
    [InlineData(
        "<p>A text about bridges that was written to be read.</p><form>Search: <input><button>Go</button></form>",
        "A text about bridges that was written to be read."
    )]
    [InlineData(
        "<p>A text about bridges that was written to be read.</p><form><fieldset><legend>Log in</legend><label>User <input></label>"
            + "<p>Forgot it?</p></fieldset></form>",
        "A text about bridges that was written to be read."
    )]
    public void Read_form_that_contains_the_page_is_read(string html, string text) => Assert.Equal(text, Read(html));

    [Theory]
    [InlineData("<main></main><div><p>All of it.</p></div>")]
    [InlineData("<main><nav>Home</nav> </main><article><p>All of it.</p></article>")]
    [InlineData("<div role=main><script>x()</script></div><article> </article><p>All of it.</p>")]
    [InlineData("<main><div style='display:none'>Loading</div></main><p>All of it.</p>")]
    public void Read_main_part_without_text_is_passed_over(string html) => Assert.Equal("All of it.", Read(html));

    [Theory]
    [InlineData("<p>seen</p><p style='color: red; DISPLAY : None'>not</p>", "seen")]
    [InlineData("<p>seen</p><div style='visibility:hidden'><p>not</p></div>", "seen")]
    [InlineData("<style>.x, #y { display: none } </style><p>seen</p><p class='a x'>not</p><p id=y>not</p>", "seen")]
    [InlineData("<style>@media print { .x { display: none } } .z{display:block}</style><p class=x>seen</p>", "seen")]
    [InlineData("<style media=print>.x { display: none }</style><p class=x>seen</p>", "seen")]
    [InlineData(
        "<style>/* .x{display:none} */ .t{display:none} .t.on{display:block}</style><p class='t on'>seen</p><p class=t>not</p>",
        "seen"
    )]
    [InlineData("<style>.x{display:none}</style><p class=x style='display:block'>seen</p>", "seen")]
    [InlineData("<style>.x{display:none !important}</style><p>seen</p><p class=x style='display:block'>not</p>", "seen")]
    [InlineData("<style>p:unknown-kind{display:none} >>{display:none}</style><p>seen</p>", "seen")]
    [InlineData("<p>seen</p><p hidden>not</p><p aria-hidden=true>not</p><p style='--display:none;'>too</p>", "seen\n\ntoo")]
    public void Read_hidden_text_is_left_out(string html, string text) => Assert.Equal(text, Read(html));

    [Theory]
    [InlineData("windows-1252", "<p>naïve – café</p>")]
    [InlineData("utf-8", "<p>naïve – café</p>")]
    [InlineData("iso-8859-2", "<?xml version='1.0' encoding='iso-8859-2'?><html><body><p>naďve – kůň</p></body></html>")]
    [InlineData(
        "windows-1251",
        "<html><head><meta http-equiv='Content-Type' content='text/html; charset=windows-1251'></head><p>Привет</p></html>"
    )]
    [InlineData("utf-8", "<html><head><?xml version='1.0' encoding='latin-1'?><meta charset='utf-8'></head><p>Привет</p></html>")]
    public void Read_encoding_is_found_where_browsers_find_it(string encoding, string html)
    {
        Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);
        var text = html[(html.IndexOf("<p>", StringComparison.Ordinal) + 3)..html.IndexOf("</p>", StringComparison.Ordinal)];
        Assert.Equal(text.Replace("–", encoding == "iso-8859-2" ? "-" : "–"), Read(Encoding.GetEncoding(encoding).GetBytes(html)));
    }

    [Fact]
    public void Read_UTF16_page_is_read_by_its_byte_order_mark() =>
        Assert.Equal("Grüße ж", Read([.. Encoding.Unicode.Preamble, .. Encoding.Unicode.GetBytes("<p>Grüße ж</p>")]));
}
