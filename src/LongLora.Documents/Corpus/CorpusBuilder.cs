using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>
/// Makes a corpus from files of many types. It reads them in parallel, cleans their texts, and writes them in an order that depends only on
/// their names.
/// <para>
/// The work is divided into units of neighboring files. The documents of a unit go to a part file under <c>.parts</c>, completely or not at
/// all. When all parts exist they are joined and deleted. A run that was stopped continues where it was. A run over a finished corpus reads
/// only new and changed files and takes all other documents from the corpus itself. Memory does not grow with the corpus or with a long
/// text; a PDF, DOCX or HTML file is in memory while it is read.
/// </para>
/// </summary>
public static class CorpusBuilder
{
    /// <summary>Makes a corpus, or updates it.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Reports every finished file; called by one thread at a time.</param>
    /// <param name="cancellation">Stops the work. Finished work is kept and not repeated.</param>
    /// <exception cref="DataException">A path does not exist, or no file could be read.</exception>
    /// <exception cref="ConfigurationException">The output folder contains something else, or cannot be written.</exception>
    public static CorpusReport Build(
        PrepareOptions options,
        IProgress<PrepareProgress>? progress = null,
        CancellationToken cancellation = default
    )
    {
        options.Validate();
        var tokenizer = options.Model is { } model ? new CorpusTokenizer(model) : null;
        var unread = new List<string>();
        var sources = CorpusSource.Find(options.Data, options.Output, unread);
        return new CorpusRun(options, tokenizer, sources, UnreadKind.Count(unread), progress, cancellation).Execute();
    }

    /// <summary>Documents as the model would see them, one after the other. Writes nothing.</summary>
    /// <param name="options">The options. The output is not changed.</param>
    /// <param name="maxTokens">The most tokens to show of a document.</param>
    /// <param name="leftOut">Receives files that cannot be read.</param>
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
