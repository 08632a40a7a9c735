using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using CsCheck;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Tests.Generation.Structured;

public sealed class AnswerFormatTests
{
    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"not":{"type":"null"}}}}""", "#/properties/a", "'not'")]
    [InlineData("""{"anyOf":[{"type":"array","uniqueItems":true}]}""", "#/anyOf/0", "'uniqueItems'")]
    [InlineData(
        """{"$defs":{"x":{"type":"object","patternProperties":{"^a":{}}}},"$ref":"#/$defs/x"}""",
        "#/$defs/x",
        "'patternProperties'"
    )]
    [InlineData("""{"type":"number","multipleOf":3}""", "#", "'multipleOf'")]
    [InlineData("""{"type":"object","minProperties":2}""", "#", "'minProperties'")]
    [InlineData("""{"type":"string","format":"iri"}""", "#", "'iri'")]
    [InlineData("""{"type":"strnig"}""", "#", "strnig")]
    [InlineData("""{"type":"string","pattern":"(?=a)b"}""", "looks ahead", "not supported")]
    [InlineData("""{"type":"string","pattern":"(a)\\1"}""", "'\\1'", "not supported")]
    [InlineData("""{"$ref":"#/$defs/none"}""", "#/$defs/none", "does not have")]
    [InlineData("""{"$ref":"https://example.com/s.json"}""", "https://example.com/s.json", "within the schema")]
    [InlineData("""{"$ref":"#"}""", "#", "nothing in between")]
    [InlineData("""{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""", "no text satisfies", "contains itself")]
    [InlineData("""{"type":"integer","minimum":3,"maximum":2}""", "no text satisfies", "exclude")]
    [InlineData("""{"oneOf":[{"type":"integer"},{"type":"number"}]}""", "oneOf", "anyOf")]
    [InlineData("""{"type":"string","minLength":"2"}""", "minLength", "whole number")]
    [InlineData("""{"type":"object","properties":{"a":3}}""", "#/properties/a", "object, true or false")]
    [InlineData("[]", "#", "object, true or false")]
    public void A_schema_that_cannot_be_followed_is_refused_by_name(string schema, string place, string why)
    {
        var error = Assert.Throws<ConfigurationException>(() => Walk.Schema(schema));
        Assert.Contains(place, error.Message, StringComparison.Ordinal);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(
        """{"type":"object","properties":{"a":{"type":"integer"},"b":{}},"required":["b"]}""",
        """{"a":1,"b":null}""",
        """{"b":null,"a":1}"""
    )]
    [InlineData("""{"type":"object","properties":{"a":{}}}""", "{}", """{"other":1}""")]
    [InlineData("""{"type":"object"}""", """{"any":[1,{}]}""", "[]")]
    [InlineData("""{"properties":{"a":{"type":"null"}}}""", """{"a":null}""", "3")]
    [InlineData(
        """{"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}}""",
        """{"a":1,"ab":"x"}""",
        """{"\u0061":1}"""
    )]
    [InlineData("""{"type":["string","null"]}""", "null", "1")]
    [InlineData("""{"type":"string","nullable":true}""", "null", "1")]
    [InlineData("""{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false}""", """["x",1]""", """["x",1,2]""")]
    [InlineData(
        """{"type":"array","items":[{"type":"string"}],"additionalItems":{"type":"integer"},"minItems":2}""",
        """["x",1]""",
        """["x"]"""
    )]
    [InlineData("""{"allOf":[{"type":"integer","minimum":3},{"type":"number","maximum":5}]}""", "4", "6")]
    [InlineData(
        """{"allOf":[{"$ref":"#/$defs/p"},{"properties":{"b":{"type":"integer"}},"required":["b"]}],"$defs":{"p":{"type":"object","properties":{"a":{"type":"string"}}}}}""",
        """{"a":"x","b":1}""",
        """{"a":"x"}"""
    )]
    [InlineData("""{"type":"string","minLength":1,"anyOf":[{"maxLength":2},{"pattern":"^x+$"}]}""", "\"xxxx\"", "\"abc\"")]
    [InlineData(
        """{"oneOf":[{"properties":{"k":{"const":"a"}},"required":["k"]},{"properties":{"k":{"const":"b"},"n":{}},"required":["k"]}]}""",
        """{"k":"b","n":1}""",
        """{"k":"c"}"""
    )]
    [InlineData("""{"enum":[1,"x",{"a":[]}],"type":["object","string"]}""", """{"a":[]}""", "1")]
    [InlineData("""{"type":"number","minimum":0,"exclusiveMinimum":true}""", "0.5", "0.0")]
    [InlineData("""{"type":"string","enum":["straße","\ud83d\ude00"]}""", "\"\U0001F600\"", "\"strasse\"")]
    [InlineData("""{"type":"string","format":"date"}""", "\"2024-12-31\"", "\"2024-02-30\"")]
    [InlineData("true", "[]", "[")]
    [InlineData("""{"const":{"a":1.50}}""", """{"a": 1.50}""", """{"a":2}""")]
    public void A_schema_has_these_texts_and_not_those(string schema, string isText, string isNone)
    {
        var walk = Walk.Schema(schema);
        Assert.True(walk.Accepts(isText), isText);
        Assert.False(walk.Accepts(isNone), isNone);
    }

    [Fact]
    public void A_recursive_schema_ends_at_64_levels()
    {
        var walk = Walk.Schema("""{"type":"object","properties":{"next":{"$ref":"#"},"list":{"type":"array","items":{"$ref":"#"}}}}""");
        static string Nest(int levels) => string.Concat(Enumerable.Repeat("{\"next\":", levels - 1)) + "{}" + new string('}', levels - 1);
        Assert.True(walk.Accepts(Nest(3)));
        Assert.True(walk.Accepts(Nest(64)));
        Assert.NotNull(JsonDocument.Parse(Nest(64)));
        Assert.False(walk.Begins(Nest(65)[..^64]));
        Assert.True(walk.Accepts("""{"list":[{},{"next":{"list":[]}}]}"""));
    }

    [Fact]
    public void Json_has_every_object_and_nothing_else()
    {
        var walk = new Walk(AnswerFormat.Json);
        Assert.True(walk.Accepts("""{"a":[1,-2.5e3,"\u00e9\ud83d\ude00",true,{}],"b":null}"""));
        Assert.True(walk.Accepts("{\n  \"a\": 1,\n  \"b\": [ ]\n}"));
        foreach (
            var wrong in (string[])["[1]", "{\"a\":01}", "{\"a\":1,}", "{a:1}", "{\"a\":\"\\ud83d\"}", "{\"a\":\"\n\"}", "{\"a\":1} x"]
        )
            Assert.False(walk.Accepts(wrong), wrong);
        Assert.False(walk.Accepts([(byte)'{', (byte)'"', 0xC3, 0x28, (byte)'"', (byte)':', (byte)'1', (byte)'}']));
    }

    [Fact]
    public void Json_texts_are_read_by_the_reader_of_the_framework() =>
        Gen.Int[0, 1_000_000]
            .Sample(seed => JsonDocument.Parse(new Walk(AnswerFormat.Json).Draw(new Random(seed), isPlain: false)), iter: 200, threads: 1);

    [Fact]
    public void A_length_counts_code_points_whatever_their_bytes_and_escapes() =>
        Gen.Int[0, 1_000_000]
            .Sample(
                seed =>
                {
                    var text = Walk.Schema("""{"type":"string","minLength":3,"maxLength":5}""").Draw(new Random(seed), isPlain: false);
                    Assert.InRange(JsonDocument.Parse(text).RootElement.GetString()!.EnumerateRunes().Count(), 3, 5);
                },
                iter: 300,
                threads: 1
            );

    [Fact]
    public void A_range_of_numbers_has_what_arithmetic_says() =>
        Gen.Select(Gen.Int[-3000, 3000], Gen.Int[0, 3000], Gen.Bool, Gen.Bool, Gen.Int[0, 3])
            .Sample(
                (first, length, lowOut, highOut, places) =>
                {
                    var scale = (decimal)Math.Pow(10, places);
                    var (low, high) = (first / scale, (first + length) / scale);
                    var range =
                        $"\"{(lowOut ? "exclusiveMinimum" : "minimum")}\":{Write(low)},"
                        + $"\"{(highOut ? "exclusiveMaximum" : "maximum")}\":{Write(high)}";
                    if (length == 0 && (lowOut || highOut))
                        return;
                    var walk = Walk.Schema($$"""{"type":"number",{{range}}}""");
                    var step = 1 / (scale * 10);
                    for (var value = low - 3 * step; value <= high + 3 * step; value += Math.Max(step, (high - low) / 7))
                        Check(Math.Round(value, 9));
                    foreach (
                        var value in (decimal[])
                            [low, high, 0, low + step, high - step, Math.Truncate(low), Math.Truncate(high), -low, 10 * high]
                    )
                        Check(value);

                    void Check(decimal value)
                    {
                        var isIn = (lowOut ? value > low : value >= low) && (highOut ? value < high : value <= high);
                        Assert.True(walk.Accepts(Write(value)) == isIn, $"{range}: {Write(value)}");
                        Assert.True(walk.Accepts(Write(value + 0.00000m)) == isIn, $"{range}: {Write(value + 0.00000m)}");
                    }
                },
                iter: 300,
                threads: 1
            );

    [Fact]
    public void A_range_of_whole_numbers_has_what_arithmetic_says() =>
        Gen.Select(Gen.Int[-1200, 1200], Gen.Int[0, 2500])
            .Sample(
                (low, length) =>
                {
                    var walk = Walk.Schema($$"""{"type":"integer","minimum":{{low}},"maximum":{{low + length}}}""");
                    for (var value = low - 50; value <= low + length + 50; value += 1 + length / 60)
                        Assert.True(
                            walk.Accepts(Write(value)) == (value >= low && value <= low + length),
                            $"{low}..{low + length}: {value}"
                        );
                },
                iter: 300,
                threads: 1
            );

    [Theory]
    [InlineData("^[a-f0-9]{3,5}(-x)?$")]
    [InlineData("b+c")]
    [InlineData("^a|b$")]
    [InlineData("^(?:ab|[^a-c\\d])*$")]
    [InlineData("^\\w+\\s\\S.$")]
    [InlineData("^(a{2}){1,2}\\.?[\\]\\-a]*$")]
    [InlineData("")]
    [InlineData("^\\p{Lu}[\\u0061-c]*?$")]
    public void A_pattern_matches_what_the_framework_matches(string pattern)
    {
        var walk = Walk.Schema($$"""{"type":"string","pattern":{{JsonSerializer.Serialize(pattern)}}}""");
        var oracle = new Regex(
            pattern,
            pattern.Contains("\\p", StringComparison.Ordinal) ? RegexOptions.None : RegexOptions.ECMAScript,
            TimeSpan.FromSeconds(5)
        );
        Gen.Char["abcx019-.]A _\u00fc"]
            .Array[0, 8]
            .Sample(
                characters =>
                {
                    var text = new string(characters);
                    Assert.True(walk.Accepts($"\"{text}\"") == oracle.IsMatch(text), text);
                },
                iter: 2000,
                threads: 1
            );
    }

    [Theory]
    [InlineData("date-time")]
    [InlineData("date")]
    [InlineData("uuid")]
    [InlineData("ipv4")]
    [InlineData("uri")]
    [InlineData("email")]
    [InlineData("duration")]
    [InlineData("hostname")]
    [InlineData("time")]
    public void A_format_has_texts_that_the_framework_reads(string format)
    {
        var walk = Walk.Schema($$"""{"type":"string","format":"{{format}}"}""");
        for (var seed = 0; seed < 100; seed++)
        {
            var text = JsonDocument.Parse(walk.Draw(new Random(seed), isPlain: true)).RootElement.GetString()!;
            Assert.True(
                format switch
                {
                    "date-time" => DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, out _),
                    "date" => DateOnly.TryParseExact(text, "yyyy-MM-dd", out _),
                    "uuid" => Guid.TryParseExact(text, "D", out _),
                    "ipv4" => System.Net.IPAddress.TryParse(text, out _),
                    "uri" => Uri.TryCreate(text, UriKind.Absolute, out _),
                    "email" => System.Net.Mail.MailAddress.TryCreate(text, out _),
                    "duration" => System.Xml.XmlConvert.ToTimeSpan(text) >= TimeSpan.Zero,
                    "hostname" => Uri.CheckHostName(text) != UriHostNameType.Unknown,
                    _ => DateTimeOffset.TryParse("2000-01-02T" + text, CultureInfo.InvariantCulture, out _),
                },
                text
            );
        }
    }

    private static string Write(decimal value) => value.ToString(CultureInfo.InvariantCulture);
}
