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
}
