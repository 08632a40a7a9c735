using CsCheck;
using LongLora.Tokenization;
using Microsoft.ML.Tokenizers;

namespace LongLora.Tests.Tokenization;

public class BpeMergerTests
{
    [Fact]
    public void MergeLong_gives_what_MergeShort_gives()
    {
        // Few symbols and ranks, so that merges feed on each other and ties are common. Symbol 0 to 5 are read, 6 to 19 are made.
        var merges = Gen.Select(Gen.Int[0, 19], Gen.Int[0, 19], Gen.Int[0, 9], Gen.Int[6, 19]).Array[0, 60];
        Gen.Select(merges, Gen.Int[0, 5].Array[1, 200])
            .Sample(
                (pairs, row) =>
                {
                    var table = new MergeTable(1);
                    foreach (var (left, right, rank, merged) in pairs)
                        table.Add(left, right, rank, merged);
                    var (shorter, longer) = ((int[])row.Clone(), (int[])row.Clone());
                    var length = BpeMerger.MergeShort(shorter, table);
                    Assert.Equal(length, BpeMerger.MergeLong(longer, table));
                    Assert.Equal(shorter[..length], longer[..length]);
                }
            );
    }

    [Fact]
    public void Rank_of_a_pair_added_twice_is_the_lower()
    {
        var table = new MergeTable(0);
        for (var i = 0; i < 1000; i++)
            table.Add(i, -i, i, i + 1);
        table.Add(7, -7, 3, 70);
        table.Add(8, -8, 9, 80);
        Assert.Equal((3, 70), (table.FindRank(7, -7, out var merged), merged));
        Assert.Equal((8, 9), (table.FindRank(8, -8, out merged), merged));
        Assert.Equal(MergeTable.Never, table.FindRank(7, 7, out _));
    }

    [Fact]
    public void Encode_of_a_very_long_word_repeats_the_tokens_of_a_short_one()
    {
        // Quadratic time would take minutes here.
        foreach (var name in (string[])["bpe", "unigram", "llama3", "mistral"])
        {
            var tokenizer = GoldenTokenizers.Open(name);
            int[] Encode(int times) => [.. tokenizer.Encode(string.Concat(Enumerable.Repeat("ishmael", times)))];
            var (few, many) = (Encode(20), Encode(20_000));
            // Away from the ends the tokens repeat.
            var period = (Encode(21).Length - few.Length, few.Length / 2);
            Assert.Equal(few.Length + (20_000 - 20) * period.Item1, many.Length);
            for (var i = period.Item2; i + period.Item1 < many.Length - period.Item2; i++)
                Assert.True(many[i] == many[i + period.Item1], $"{name}: token {i}");
        }
    }

    [Fact]
    public void Encode_over_bytes_equals_Microsoft_ML_Tokenizers()
    {
        // An independent implementation; its patterns see surrogates and it does not normalise, so the text is plain.
        var model = GoldenTokenizers.Read("bytes.model.json");
        var theirs = BpeTokenizer.Create(
            new BpeOptions(model["vocab"]!.AsObject().Select(p => KeyValuePair.Create(p.Key, p.Value!.GetValue<int>())))
            {
                Merges = model["merges"]!.AsArray().Select(m => m!.GetValue<string>()),
                ByteLevel = true,
                PreTokenizer = new RegexPreTokenizer(
                    new(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
                    null
                ),
            }
        );
        var json = GoldenTokenizers.Json("gpt-neox");
        json["added_tokens"]!.AsArray().Clear();
        json["normalizer"] = null;
        using var folder = new TemporaryFolder();
        folder.Text("tokenizer.json", json.ToJsonString());
        var ours = TokenizerLoader.Load(folder.Root);
        var text = File.ReadAllText(SharedMaterial.Golden("README.md")) + string.Concat(Enumerable.Range(32, 2000).Select(c => (char)c));
        Assert.Equal(theirs.EncodeToIds(text), ours.Encode(text));
    }
}
