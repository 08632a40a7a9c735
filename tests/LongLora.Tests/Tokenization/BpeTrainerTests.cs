using System.Text;
using System.Text.RegularExpressions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public class BpeTrainerTests
{
    private const string Text = """
        The pass key is 49674. Remember it. 49674 is the pass key. What's the pass key?
            indented: naïve façade, 12 345 6789 — ½ and 漢字 漢字 漢字; the the the them then thence.
        lines  of   spaces	and tabs, don't we've it'll
        """;

    // GPT-2's rule, as its authors published it.
    private const string Gpt2Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    [Fact]
    public void Train_joins_what_counting_everything_anew_joins()
    {
        var random = new Random(5);
        var texts = Enumerable
            .Range(0, 40)
            .Select(_ => string.Concat(Enumerable.Range(0, 200).Select(_ => "aab ccd e12ö"[random.Next(12)])))
            .Append(Text);
        var words = BpeTrainer.CountWords(texts);
        Assert.Equal(SlowTrain(words, 150), BpeTrainer.Train(words, 150));
    }

    [Fact]
    public void Train_of_a_known_case_gives_the_known_joins()
    {
        // ab 5 times, bc and abc once: a b; then ab c and b c tie at one each, and b (98) is below ab (256).
        var words = new Dictionary<string, long>
        {
            ["ab"] = 5,
            ["abc"] = 1,
            ["bc"] = 1,
        };
        Assert.Equal([('a', 'b'), ('b', 'c'), (256, 'c')], BpeTrainer.Train(words, 3));
    }

    [Fact]
    public void Train_with_too_little_text_says_how_far_it_goes()
    {
        var fault = Assert.Throws<DataException>(() => BpeTrainer.Train(new Dictionary<string, long> { ["abc"] = 1 }, 3));
        Assert.Contains("only 2 of the 3 merges", fault.Message, StringComparison.Ordinal);
        Assert.Throws<ConfigurationException>(() => ByteLevelTokenizerWriter.CountMerges(257));
    }

    [Fact]
    public void Written_tokenizer_encodes_as_the_joins_say_and_gives_every_text_back()
    {
        using var folder = new TemporaryFolder();
        var merges = BpeTrainer.Train(BpeTrainer.CountWords([Text]), 60);
        ByteLevelTokenizerWriter.Write(folder.Root, merges);
        var tokenizer = TokenizerLoader.Load(folder.Root);
        Assert.Equal((0, 1, 318), (tokenizer.BosTokenId!.Value, tokenizer.EosTokenId!.Value, tokenizer.VocabularySize));
        foreach (var text in new[] { Text, "unseen wörds 🦙 \n\n\t x", " 7 77 777", "" })
        {
            Assert.Equal(SlowEncode(text, merges), tokenizer.Encode(text));
            Assert.Equal([0, .. SlowEncode(text, merges)], tokenizer.Encode(text, addSpecial: true));
            Assert.Equal(text, tokenizer.Decode([.. tokenizer.Encode(text)]));
        }
    }

    [Fact]
    public void Numbers_are_the_same_tokens_behind_any_character()
    {
        using var folder = new TemporaryFolder();
        ByteLevelTokenizerWriter.Write(folder.Root, BpeTrainer.Train(BpeTrainer.CountWords([Text]), 80));
        var tokenizer = TokenizerLoader.Load(folder.Root);
        var number = tokenizer.Encode("49674");
        Assert.Equal(number, tokenizer.Encode("<49674").Skip(1));
        Assert.Equal(number, tokenizer.Encode(" 49674").Skip(1));
    }

    // Counts every pair of every word before each join.
    private static List<(int, int)> SlowTrain(IReadOnlyDictionary<string, long> words, int merges)
    {
        var symbols = words.Select(w => (Ids: Encoding.UTF8.GetBytes(w.Key).Select(b => (int)b).ToList(), w.Value)).ToList();
        var learnt = new List<(int, int)>();
        while (learnt.Count < merges)
        {
            var best = symbols
                .SelectMany(w => w.Ids.Zip(w.Ids.Skip(1), (a, b) => (Pair: (a, b), w.Value)))
                .GroupBy(p => p.Pair, p => p.Value)
                .OrderByDescending(g => g.Sum())
                .ThenBy(g => g.Key)
                .First()
                .Key;
            symbols.ForEach(w => Join(w.Ids, best, 256 + learnt.Count));
            learnt.Add(best);
        }
        return learnt;
    }

    private static List<int> SlowEncode(string text, IReadOnlyList<(int Left, int Right)> merges)
    {
        var ids = new List<int>();
        foreach (var split in Regex.EnumerateMatches(text, Gpt2Words))
        {
            var word = Encoding.UTF8.GetBytes(text[split.Index..(split.Index + split.Length)]).Select(b => (int)b).ToList();
            for (var i = 0; i < merges.Count; i++)
                Join(word, merges[i], 256 + i);
            ids.AddRange(word.Select(t => t + 2));
        }
        return ids;
    }

    private static void Join(List<int> ids, (int Left, int Right) pair, int token)
    {
        for (var i = 0; i + 1 < ids.Count; i++)
        {
            if ((ids[i], ids[i + 1]) != pair)
                continue;
            ids[i] = token;
            ids.RemoveAt(i + 1);
        }
    }
}
