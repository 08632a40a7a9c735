using LongLora.Data;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Studies;

/// <summary>
/// Data of the reproduction: training windows of the long context, every fourth of which consists of texts that fit the original context,
/// and held-out text. Even-numbered documents are for the test, because the bundled model was trained only on the others.
/// </summary>
internal static class ReproductionData
{
    private const int TestDocuments = 6;

    /// <summary>Writes both files unless they exist, and returns a description of the text.</summary>
    internal static string Write(
        string train,
        string test,
        ITokenizer tokenizer,
        int native,
        int context,
        int windows,
        int seed,
        CancellationToken cancellation
    )
    {
        var (texts, origin) = CollectTexts(seed);
        if (File.Exists(train) && File.Exists(test))
            return origin;
        Directory.CreateDirectory(Path.GetDirectoryName(train)!);
        AtomicFile.Write(test, stream =>
        {
            foreach (var ids in ListHeldOut(texts, tokenizer, context))
                PracticeWindows.Write(stream, ids);
        });
        // Only a few hundred thousand tokens are read; these are more.
        List<IReadOnlyList<int>> learnt = [.. texts.Where((_, i) => i % 8 == 1).Select(t => tokenizer.Encode(t))];
        PracticeWindows MakeWindows(int length, int offset) =>
            new(
                tokenizer,
                learnt,
                new PracticeOptions
                {
                    Context = length,
                    Windows = windows * (context / length),
                    Generated = 0.5,
                    Weights = [0, 2, 3, 1, 2],
                    Seed = seed + offset,
                }
            );
        using var longWindows = MakeWindows(context, 0).Make().GetEnumerator();
        using var shortWindows = MakeWindows(native, 1).Make().GetEnumerator();
        AtomicFile.Write(train, stream =>
        {
            for (var i = 0; i < windows; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                var (source, count) = i % 4 == 3 ? (shortWindows, context / native) : (longWindows, 1);
                for (var part = 0; part < count && source.MoveNext(); part++)
                    PracticeWindows.Write(stream, source.Current);
            }
        });
        return origin;
    }

    // Documents spread over all even-numbered ones, each cut to the long context, so no window spans two documents. One more than is
    // scored, because LongLoRA's protocol leaves out the end of the stream.
    private static IEnumerable<int[]> ListHeldOut(List<string> texts, ITokenizer tokenizer, int context)
    {
        var candidates = texts.Where((t, i) => i % 2 == 0 && t.Length > 3 * context).ToList();
        var (step, taken) = (Math.Max(1, candidates.Count / (TestDocuments + 2)), 0);
        for (var i = 0; i < candidates.Count && taken < TestDocuments + 2; i += step)
        {
            int[] ids = [.. tokenizer.Encode(candidates[i], addSpecial: true).Take(context)];
            if (ids.Length < context)
            {
                i -= step - 1; // the next one instead
                continue;
            }
            taken++;
            yield return ids;
        }
    }

    private static (List<string> Texts, string Origin) CollectTexts(int seed)
    {
        List<string> texts = [.. XmlDocumentation.FindSdkFiles().SelectMany(XmlDocumentation.Read).Select(d => d.Text)];
        if (texts.Count > 100)
            return (texts, "the .NET SDK's documentation");
        var random = new SplitMix64((ulong)seed);
        var practice = new RetrievalPractice(random);
        return (
            [.. Enumerable.Range(0, 400).Select(_ => practice.Write(PracticeKind.Facts, random.Between(6_000, 24_000)))],
            "generated text, because there is no documentation of .NET here"
        );
    }
}
