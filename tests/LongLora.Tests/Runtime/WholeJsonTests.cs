using System.Text;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

public class WholeJsonTests
{
    [Theory]
    [InlineData("""{"a":"\ud800"}""")]
    [InlineData("""{"a":"x\udfff y"}""")]
    [InlineData("""{"\ud83d":1}""")]
    [InlineData("""[1,{"a":["\ud83d\ud83d"]}]""")]
    public void Parse_of_half_a_character_says_in_which_line(string json)
    {
        foreach (var parse in (Action<string>[])[t => WholeJson.Parse(t), t => WholeJson.ParseNode(t), t => WholeJson.Parse(Encoding.UTF8.GetBytes(t))])
        {
            var error = Assert.Throws<JsonException>(() => parse("\n\n" + json));
            Assert.Contains("line 3 is not valid Unicode", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Parse_of_bytes_that_are_not_UTF_8_is_refused() =>
        Assert.Throws<JsonException>(() => WholeJson.Parse((byte[])[.. "{\"a\":\""u8, 0xC3, 0x28, .. "\"}"u8]));

    [Fact]
    public void Parse_of_whole_characters_gives_them()
    {
        using var json = WholeJson.Parse("""{"a":"\ud83d\ude00 é 😀","b":"plain"}""");
        Assert.Equal("😀 é 😀", json.RootElement.GetProperty("a").GetString());
        Assert.Equal("plain", (string?)WholeJson.ParseNode("""{"b":"plain"}""")!["b"]);
        Assert.Throws<JsonException>(() => WholeJson.ParseNode("""{"b":1,"b":2}"""));
        Assert.Throws<JsonException>(() => WholeJson.Parse("{"));
    }
}
