using System.Text;
using LongLora.Documents.Corpus;

namespace LongLora.Documents.Tests.Corpus;

public class CleanTextTests
{
    [Theory]
    [InlineData("plain text\n", "plain text")]
    [InlineData("\n\n  a  \r\nb\t \r\rc\n\n\n\n\nd \n ", "  a\nb\n\nc\n\n\nd")]
    [InlineData("\uFEFFno\u00ADhy\u200Bphen\u00A0here\0\u0007\u007F", "nohyphen here")]
    [InlineData("\tif x:\n\t\ty\n", "\tif x:\n\t\ty")]
    [InlineData("page one\fpage two\u2028line", "page one\npage two\nline")]
    [InlineData("𝓝 and é", "𝓝 and é")]
    [InlineData(" \n\t\n", "")]
    public void Read_takes_out_what_no_model_should_learn(string text, string expected)
    {
        Assert.Equal(expected, Clean(text, text.Length + 1));
        Assert.Equal(expected, Clean(expected, 1 << 10));
    }

    [Fact]
    public void Read_does_not_depend_on_the_blocks_that_the_text_comes_in()
    {
        var random = new Random(7);
        var text = new StringBuilder();
        for (var i = 0; i < 40_000; i++)
            text.Append(
                random.Next(9) switch
                {
                    0 => "\r\n",
                    1 => "  ",
                    2 => "\t",
                    3 => "𝓝",
                    4 => "\u00AD",
                    5 => "\n\n\n\n",
                    _ => ((char)random.Next('a', 'z')).ToString(),
                }
            );
        var whole = Clean(text.ToString(), 1 << 20);
        foreach (var block in (int[])[1, 2, 7, 1 << 14])
            Assert.Equal(whole, Clean(text.ToString(), block));
    }

    [Fact]
    public void Read_half_a_surrogate_pair_becomes_the_replacement_character()
    {
        foreach (var block in (int[])[1, 100])
            Assert.Equal("\uFFFDa\uFFFD 𝓝\uFFFD", Clean("\uDCD0a\uD835 𝓝\uD835", block));
    }

    [Fact]
    public void IsAtEnd_tells_before_anything_is_read()
    {
        Assert.True(new CleanText(new StringReader(" \n\n ")).IsAtEnd);
        var text = new CleanText(new StringReader("\n\nx"));
        Assert.False(text.IsAtEnd);
        Assert.Equal("x", text.ReadToEnd());
        Assert.Equal(1, text.Count);
        Assert.True(text.IsAtEnd);
    }

    private static string Clean(string text, int block) => new CleanText(new Blocks(text, block)).ReadToEnd();

    // Gives a few characters at a time, as files and sockets may.
    private sealed class Blocks(string text, int block) : StringReader(text)
    {
        public override int Read(Span<char> buffer) => base.Read(buffer[..Math.Min(buffer.Length, block)]);
    }
}
