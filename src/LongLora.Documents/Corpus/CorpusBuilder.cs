using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>
/// Makes a corpus from files of many kinds: reads them side by side, cleans their texts, and writes them in one order, which depends on
/// their names alone.
/// <para>
/// Work is cut into units of neighbouring files. A unit's documents go to a part file under <c>.parts</c>, whole or not at all; when all
/// are there they are joined and the parts go away. A run that was stopped goes on where it was; a run over a finished corpus reads only
/// files that are new or changed, and takes the documents of all others from the corpus itself. Memory does not grow with the corpus, nor
/// with a long text; a PDF, DOCX or HTML file is in memory while it is read.
/// </para>
/// </summary>
public static class CorpusBuilder
{
    /// <summary>Makes a corpus, or brings it up to date.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Told of every file that is done; called by one thread at a time.</param>
    /// <param name="cancellation">Stops the work; what is done stays and is not done again.</param>
    /// <exception cref="DataException">A path is missing, or not one file could be read.</exception>
    /// <exception cref="ConfigurationException">The output holds something else, or cannot be written.</exception>
    public static CorpusReport Build(
        PrepareOptions options,
        IProgress<PrepareProgress>? progress = null,
        CancellationToken cancellation = default
    )
    {
        options.Validate();
        var tokenizer = options.Model is { } model ? new CorpusTokenizer(model) : null;
        return new CorpusRun(options, tokenizer, CorpusSource.Find(options.Data, options.Output), progress, cancellation).Execute();
    }

    /// <summary>Documents as the model would see them, one after the other; writes nothing.</summary>
    /// <param name="options">The options; the output is not touched.</param>
    /// <param name="maxTokens">Tokens of a document after which it is cut off.</param>
    /// <param name="leftOut">Told of files that cannot be read.</param>
    public static IEnumerable<CorpusPreview> Preview(PrepareOptions options, int maxTokens, Action<LeftOutFile>? leftOut = null)
    {
        options.Validate();
        var tokenizer = options.Model is { } model ? new CorpusTokenizer(model) : null;
        return CorpusSource
            .Find(options.Data, options.Output)
            .SelectMany(source => source.Guard(Preview(source, options, tokenizer, maxTokens), leftOut));
    }

    private static IEnumerable<CorpusPreview> Preview(
        CorpusSource source,
        PrepareOptions options,
        CorpusTokenizer? tokenizer,
        int maxTokens
    )
    {
        using var file = DataFiles.Open(source.Path);
        foreach (var (text, origin) in source.Reader.Read(file, source.Path))
        {
            using var clean = new CleanText(text, options.Raw);
            if (clean.IsAtEnd)
                continue;
            var name = source.Name + origin[source.Path.Length..];
            if (tokenizer is null)
            {
                var start = new char[4 * maxTokens];
                yield return new CorpusPreview(name, new string(start, 0, clean.ReadBlock(start)), null, null);
                continue;
            }
            var ids = tokenizer.Encode(clean, origin).SelectMany(i => i).Take(maxTokens).ToList();
            yield return new CorpusPreview(name, null, new TrainingExample(ids, null, name), tokenizer.Tokenizer);
        }
    }
}
