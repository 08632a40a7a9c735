using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>Texts that are given up before they are encoded really are too long, for every kind of tokenizer.</summary>
public class TokenBoundTests
{
    public static TheoryData<string> All => [.. GoldenTokenizers.SentencePieceModels, .. GoldenTokenizers.JsonVariants];

    private static TextTokenizer Open(string name) => (TextTokenizer)GoldenTokenizers.Open(name);

    private static IEnumerable<string> Texts()
    {
        var random = new Random(3);
        string[] pieces =
        [
            "the ",
            "hello",
            "AB12",
            "  ",
            "\t\n",
            "中文",
            "é",
            "e\u0301",
            "😀",
            "ﬁ",
            "１２",
            "<s>",
            "aaaaaaaa",
            "0",
            "\uE0F3",
            "_",
        ];
        yield return "";
        for (var i = 0; i < 300; i++)
        {
            var piece = random.Next(3) == 0 ? pieces[random.Next(pieces.Length)] : null;
            yield return string.Concat(Enumerable.Range(0, random.Next(1, 60)).Select(_ => piece ?? pieces[random.Next(pieces.Length)]));
        }
    }

    [Theory]
    [MemberData(nameof(All))]
    public void CountAtLeast_is_never_more_than_there_are(string name)
    {
        var tokenizer = Open(name);
        var bound = new TokenBound(tokenizer);
        var known = 0;
        foreach (var text in Texts())
        {
            var least = bound.CountAtLeast(text);
            known += least;
            Assert.True(least <= tokenizer.Encode(text).Count, text);
        }
        Assert.Equal(bound.KnowsBytes, known > 0);
        Assert.True(bound.KnowsBytes || name is "bpe" or "unigram" or "unknown" or "words" or "metaspace" or "unfused", name);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void EncodeUpTo_gives_the_same_ids_or_says_that_there_are_more(string name)
    {
        var tokenizer = Open(name);
        foreach (var text in Texts())
        {
            var ids = tokenizer.Encode(text, addSpecial: true);
            foreach (var most in (int[])[0, 1, ids.Count / 2, ids.Count - 1, ids.Count, ids.Count + 1, 10_000])
            {
                if (most < 0)
                    continue;
                if (ids.Count <= most)
                {
                    Assert.Equal(ids, tokenizer.EncodeUpTo(text, most, addSpecial: true));
                    continue;
                }
                var least = Assert.Throws<TextTooLongException>(() => tokenizer.EncodeUpTo(text, most, addSpecial: true)).AtLeast;
                Assert.InRange(least, most + 1, ids.Count);
            }
        }
    }
}
