using System.Globalization;
using System.Text.RegularExpressions;
using LongLora.Data;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Data;

public partial class PracticeTests
{
    [Fact]
    public void Random_numbers_are_those_of_the_published_generator()
    {
        // The first outputs of SplitMix64 for seed 1234567, as in its reference implementation's test vectors.
        var random = new SplitMix64(1234567);
        Assert.Equal(
            [6457827717110365317, 3203168211198807973, 9817491932198370423],
            new[] { random.Next(), random.Next(), random.Next() }
        );
    }

    [Fact]
    public void Random_numbers_stay_in_their_range_and_reach_its_ends()
    {
        var random = new SplitMix64(3);
        var drawn = Enumerable.Range(0, 2000).Select(_ => random.Between(-2, 5)).ToHashSet();
        Assert.Equal(Enumerable.Range(-2, 8), drawn.Order());
        Assert.All(Enumerable.Range(0, 1000).Select(_ => random.Share()), share => Assert.InRange(share, 0, 1 - 1e-16));
    }

    [Theory]
    [InlineData(PracticeKind.Repetition)]
    [InlineData(PracticeKind.Facts)]
    [InlineData(PracticeKind.PassKey)]
    [InlineData(PracticeKind.Lines)]
    [InlineData(PracticeKind.Topics)]
    public void Documents_are_the_same_for_the_same_seed_and_about_as_long_as_asked(PracticeKind kind)
    {
        string Make(ulong seed, int characters) => new RetrievalPractice(new SplitMix64(seed)).Write(kind, characters);
        foreach (var characters in new[] { 0, 300, 1000, 5000 })
        {
            Assert.Equal(Make(1, characters), Make(1, characters));
            Assert.NotEqual(Make(1, characters), Make(2, characters));
            Assert.InRange(Make(3, characters).Length, characters / 2, characters * 5 / 4 + 1000);
        }
    }

    [Fact]
    public void Questions_ask_for_facts_that_stand_in_their_documents()
    {
        string[] texts = [string.Join('\n', Enumerable.Range(0, 400).Select(i => $"Paragraph {i} says little.")), "\n \nOne line."];
        List<DocumentQuestion> Make(ulong seed) =>
            [.. Enumerable.Range(0, 50).Select(i => new DocumentQuestions(new SplitMix64(seed + (ulong)i), texts, 3).Write(100 * i))];
        var questions = Make(5);
        Assert.Equal(questions, Make(5));
        for (var i = 0; i < questions.Count; i++)
        {
            var (document, question) = (
                questions[i].Instruction.Split("\nNow the document ends.\n") is var parts ? parts[0] : "",
                parts[1]
            );
            var answers = questions[i].Output.Split(". ").Select(a => a.TrimEnd('.') + ".").ToList();
            Assert.InRange(answers.Count, 1, 3);
            Assert.All(answers, answer => Assert.Contains($"\n{answer}", document, StringComparison.Ordinal));
            Assert.All(answers, answer => Assert.Contains(answer.Split(' ')[3], question, StringComparison.Ordinal));
            Assert.InRange(document.Length, 100 * i, 100 * i + 800);
        }
    }

    [Fact]
    public void Answers_stand_in_the_documents_that_ask_for_them()
    {
        var practice = new RetrievalPractice(new SplitMix64(11));
        for (var i = 0; i < 200; i++)
        {
            var passKey = practice.Write(PracticeKind.PassKey, 60 * i % 1500);
            var key = passKey[(passKey.LastIndexOf(' ') + 1)..];
            Assert.Contains($"The pass key is {key}. Remember it. {key} is the pass key.", passKey, StringComparison.Ordinal);

            var topics = practice.Write(PracticeKind.Topics, 60 * i % 1500);
            var asked = topics[(topics.LastIndexOf("ASSISTANT: ", StringComparison.Ordinal) + 11)..];
            Assert.Contains(
                $"Now the record start. USER: I would like to discuss the topic of {asked}. \n",
                topics,
                StringComparison.Ordinal
            );

            var lines = practice.Write(PracticeKind.Lines, 60 * i % 1500);
            foreach (Match answer in LineAnswer().Matches(lines))
                Assert.Contains($"line {answer.Groups[1]}: REGISTER_CONTENT is <{answer.Groups[2]}>\n", lines, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(3, 0.5, "1", true, "context is 3")]
    [InlineData(64, -0.1, "1", true, "generated is -0.1")]
    [InlineData(64, double.NaN, "1", true, "generated is NaN")]
    [InlineData(64, 1.5, "1", true, "generated is 1.5")]
    [InlineData(64, 0.5, "1 -2", true, "weight 2 is -2")]
    [InlineData(64, 0.5, "0 0", true, "every weight is 0")]
    [InlineData(64, 0.5, "1 1 1 1 1 1 1", true, "conversations")]
    [InlineData(64, 0.5, "1", false, "there is none")]
    public void Windows_that_cannot_be_filled_so_are_refused(int context, double generated, string weights, bool hasText, string why)
    {
        using var folder = new TemporaryFolder();
        ByteLevelTokenizerWriter.Write(folder.Root, []);
        var options = new PracticeOptions
        {
            Context = context,
            Windows = 1,
            Generated = generated,
            Weights = [.. weights.Split(' ').Select(w => double.Parse(w, CultureInfo.InvariantCulture))],
        };
        IReadOnlyList<IReadOnlyList<int>> texts = hasText
            ?
            [
                [1, 2, 3],
            ]
            : [];
        var told = Assert.Throws<ConfigurationException>(() => new PracticeWindows(TokenizerLoader.Load(folder.Root), texts, options));
        Assert.Contains(why, told.Message);
    }

    [Theory]
    [InlineData(2, "0100FFFF")]
    [InlineData(4, "01000000FFFF0000")]
    public void Windows_are_written_in_the_width_that_their_ids_need(int width, string bytes)
    {
        using var stream = new MemoryStream();
        PracticeWindows.Write(stream, [1, 65535], width);
        Assert.Equal(bytes, Convert.ToHexString(stream.ToArray()));
    }

    [Fact]
    public void Windows_have_whole_documents_and_exactly_the_context()
    {
        using var folder = new TemporaryFolder();
        ByteLevelTokenizerWriter.Write(folder.Root, []);
        var tokenizer = TokenizerLoader.Load(folder.Root);
        IReadOnlyList<int> text = [.. Enumerable.Repeat(2 + 'x', 5000)];
        List<int[]> Make(int seed) =>
            [
                .. new PracticeWindows(
                    tokenizer,
                    [text],
                    new PracticeOptions
                    {
                        Context = 700,
                        Windows = 20,
                        Seed = seed,
                    }
                ).Make(),
            ];
        var windows = Make(1);
        Assert.Equal(20, windows.Count);
        Assert.Equal(windows, Make(1));
        Assert.NotEqual(windows, Make(2));
        var generated = 0;
        foreach (var window in windows)
        {
            Assert.Equal(700, window.Length);
            Assert.Equal(0, window[0]);
            foreach (
                var document in tokenizer
                    .Decode([
                        .. window.Select(id =>
                            id == 0 ? 2 + '\x01'
                            : id == 1 ? 2 + '\x02'
                            : id
                        ),
                    ])
                    .Split('\x01', StringSplitOptions.RemoveEmptyEntries)
            )
            {
                if (document.TrimEnd('\x02').All(c => c == 'x'))
                    continue;
                Assert.EndsWith("\x02", document, StringComparison.Ordinal); // never cut
                generated++;
            }
        }
        Assert.InRange(generated, 10, 200);
    }

    [Fact]
    public void Documentation_becomes_one_text_a_type()
    {
        using var folder = new TemporaryFolder();
        var path = folder.Text(
            "A.xml",
            """
            <?xml version="1.0" encoding="utf-8"?>
            <doc><assembly><name>A</name></assembly><members>
              <member name="T:N.List`1"><summary>A <see cref="T:N.Thing" /> list,
                 <see langword="null" /> too.</summary><typeparam name="T">The kind.</typeparam></member>
              <member name="M:N.List`1.Add(`0,N.Thing)"><summary>Adds <paramref name="item" />.</summary><param name="item">What.</param>
                <returns>Whether.</returns><exception cref="T:N.TooMany">It is full.</exception></member>
              <member name="T:N.Thing"><summary>See <see cref="M:N.List`1.Add(`0,N.Thing)" />.</summary></member>
            </members></doc>
            """
        );
        var documents = XmlDocumentation.Read(path).ToList();
        Assert.Equal(
            [
                "N.List\nA Thing list, null too.\nT: The kind.\n\nAdd(,N.Thing)\nAdds item.\nitem: What.\nReturns: Whether.\nTooMany: "
                    + "It is full.\n\n",
                "N.Thing\nSee List.Add.\n\n",
            ],
            documents.Select(d => d.Text)
        );
        Assert.Equal(path + ":N.List", documents[0].Origin);
        Assert.Throws<DataException>(() => XmlDocumentation.Read(folder.Text("b.xml", "<doc>")).ToList());
    }

    [GeneratedRegex(@"in line ([a-z]+-[a-z]+) is <(\d+)>\.")]
    private static partial Regex LineAnswer();
}
