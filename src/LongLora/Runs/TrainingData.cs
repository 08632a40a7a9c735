using LongLora.Configs;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Runtime;

namespace LongLora.Runs;

/// <summary>Turns data files into tokens and batches, for every kind of training.</summary>
internal sealed class TrainingData : IDisposable
{
    private readonly FineTuneOptions _options;

    private TrainingData(FineTuneOptions options, TokenStore tokens) => (_options, Tokens) = (options, tokens);

    /// <summary>The tokens.</summary>
    public TokenStore Tokens { get; }

    /// <summary>Sentences about changes to the data, such as shortened examples.</summary>
    public IReadOnlyList<string> Notes => Tokens.Notes;

    /// <summary>
    /// The model that the data is read for. For a new model, this is what is known about it before the run.
    /// </summary>
    /// <param name="model">A folder, or the config of a new model and the folder of its tokenizer.</param>
    /// <exception cref="LongLoraException">One of its files is missing, damaged or not supported.</exception>
    public static ModelSource OpenSource(ModelOptions model) =>
        model.FromScratch is { } file
            ? ModelSource.Create(
                ModelConfigReader.ReadFile(file) with
                {
                    MaxPositions = model.Context,
                },
                seed: 0,
                tokenizer: model.Tokenizer
            )
            : ModelSource.Open(model.Path);

    /// <summary>Reads the data of a run.</summary>
    /// <param name="options">The data options.</param>
    /// <param name="model">The model to train. It needs a tokenizer, except for token <c>.bin</c> data.</param>
    /// <param name="readers">Readers for further file types; null for none.</param>
    /// <param name="tell">Told of a damaged token cache; null if nobody wants to know.</param>
    /// <param name="ranks">The ranks that read the same data; null for one process.</param>
    /// <param name="cancellation">Checked once per document.</param>
    /// <exception cref="LongLoraException">A file cannot be read, or the options do not match it.</exception>
    public static TrainingData Open(
        FineTuneOptions options,
        ModelSource model,
        IReadOnlyList<IDocumentReader>? readers = null,
        Action<string>? tell = null,
        ICommunicator? ranks = null,
        CancellationToken cancellation = default
    ) =>
        ranks is not { Size: > 1 }
            ? Read(options, model, readers, tell, cancellation)
            : Share(options, ranks, shared => Read(shared, model, readers, tell, cancellation));

    // One rank of each machine makes the tokens, and the others map its file.
    private static TrainingData Share(FineTuneOptions options, ICommunicator ranks, Func<FineTuneOptions, TrainingData> read)
    {
        var isKept = options.Data.TokenCache.Length > 0;
        var folder = isKept
            ? options.Data.TokenCache
            // Machines can share their temporary folder too.
            : Path.Combine(Path.GetTempPath(), $"longlora-{ranks.BroadcastText($"{Guid.NewGuid():N}")}-{ranks.Hosts[ranks.Rank]}");
        var shared = options with { Data = options.Data with { TokenCache = folder } };
        TrainingData? data = null;
        try
        {
            ranks.OnEachMachine("reading the data", () => data = read(shared));
            ranks.OnAll("opening the token file", () => data ??= read(shared));
            return data!;
        }
        catch
        {
            data?.Dispose();
            throw;
        }
        finally
        {
            // A file that is mapped stays there for those who have it.
            if (!isKept && ranks.LocalRank == 0)
                AtomicFile.Delete(folder);
        }
    }

    private static TrainingData Read(
        FineTuneOptions options,
        ModelSource model,
        IReadOnlyList<IDocumentReader>? readers,
        Action<string>? tell,
        CancellationToken cancellation
    )
    {
        var sources = Sources(model, options.Data, options.Model.Context, readers);
        var cache =
            options.Data.TokenCache.Length > 0
                ? new TokenCache(options.Data.TokenCache, CacheParts(options, model, readers))
                {
                    VocabularySize = model.Config.VocabularySize,
                }
                : null;
        // Examples end with their own end-of-text token; between plain texts it is added here.
        var separator = options.Data.Task == TrainingTask.Sft ? null : model.Separator;
        return new TrainingData(
            options,
            TokenStore.Build(sources, separator, null, cache, () => [.. NotesOn(options.Model.Context, sources)], tell, cancellation)
        );
    }

    /// <summary>The batches of the run, from the beginning.</summary>
    public BatchSampler Sample() =>
        new(
            Tokens,
            _options.Model.Context,
            _options.Optimizer.BatchSize,
            _options.Run.Seed,
            _options.Data.Shuffle,
            layout: _options.Data.Task == TrainingTask.Sft ? BatchLayout.Examples
                : _options.Data.KeepDocumentsApart ? BatchLayout.Documents
                : BatchLayout.Stream,
            // Without weights it does not matter that a source is empty.
            weights: _options.Data.Sources.All(d => d.Weight == 1) ? null : [.. _options.Data.Sources.Select(d => d.Weight)]
        );

    /// <summary>Sentences about data that a sampler never reads.</summary>
    public static IEnumerable<string> NotesOn(BatchSampler sampler, TokenStore tokens)
    {
        if (sampler.UnreadTokens is var unread && unread > tokens.Count / 100)
            yield return $"{unread:N0} of {tokens.Count:N0} tokens are never read: training reads whole sequences of {sampler.Context:N0} "
                + "tokens, and what is left at the end of the data, or of each source if there are weights, is shorter. Add text, or "
                + "use a context of which less is left.";
    }

    /// <summary>The sources of a run, one for each path.</summary>
    /// <param name="model">The model. It needs a tokenizer, except for token <c>.bin</c> data.</param>
    /// <param name="data">The data options.</param>
    /// <param name="context">Maximum tokens of an example.</param>
    /// <param name="readers">Readers for further file types; null for none.</param>
    /// <param name="vocabularySize">V, if an adapter added token ids to the model; null for the model's own.</param>
    public static IReadOnlyList<IExampleSource> Sources(
        ModelSource model,
        DataOptions data,
        int context,
        IReadOnlyList<IDocumentReader>? readers = null,
        int? vocabularySize = null
    )
    {
        var vocabulary = vocabularySize ?? model.Config.VocabularySize;
        if (data.Task == TrainingTask.Text)
            return [.. data.Sources.Select(d => ExampleSources.Open([d.Path], model.Tokenizer, vocabulary, readers, data.TokenBytes))];
        if (model.Tokenizer is not { } tokenizer)
            throw new DataException(
                $"Cannot train on conversations because '{model.Location}' has no tokenizer.model or tokenizer.json. Copy the "
                    + "model's tokenizer into this folder."
            );
        var template = model.FindTemplate(data.Template)?.With(data.TemplateOptions);
        var format = new ConversationFormat(data.Columns, data.IgnoreFields);
        return
        [
            .. data.Sources.Select(d => new ConversationSource(
                [d.Path],
                format,
                template,
                tokenizer,
                vocabulary,
                context,
                readers?.OfType<IRecordReader>(),
                data.KeepReasoning
            )),
        ];
    }

    // Everything that the tokens depend on: the model's small files by content, because a run from scratch has copies of them, and the data
    // files by length and modification time.
    private static IEnumerable<string> CacheParts(FineTuneOptions options, ModelSource model, IReadOnlyList<IDocumentReader>? readers)
    {
        var tokens = options.Data.Task == TrainingTask.Sft ? OptionEffect.AnswerTokens : OptionEffect.TextTokens;
        var texts = File.Exists(options.Data.Template) ? model.TextFiles.Append(options.Data.Template) : model.TextFiles;
        var data = options
            .Data.Sources.Select(d => DataFiles.Locate(d.Path))
            .SelectMany(path => Directory.Exists(path) ? Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories) : [path]);
        return
        [
            "tokens 6",
            Recipe.Version,
            $"vocabulary: {model.Config.VocabularySize}",
            $"reads: {string.Join(' ', (readers ?? []).SelectMany(r => r.Extensions))}",
            $"ends: {string.Join(' ', model.Config.EosTokenIds)}",
            .. FineTuneOptionTable.All.Where(o => o.Effect.HasFlag(tokens)).Select(o => $"{o.Name}: {o.Format(options)}"),
            .. texts.Select(TokenCache.DescribeContent),
            .. model.TextDigest is { } digest ? [$"tokenizer: {digest}"] : (IEnumerable<string>)[],
            .. data.Order(StringComparer.Ordinal).Select(TokenCache.DescribeFile),
        ];
    }

    /// <summary>Sentences about changes to the data that has been read so far.</summary>
    /// <param name="context">Maximum tokens of an example.</param>
    /// <param name="sources">The sources of a run.</param>
    public static IEnumerable<string> NotesOn(int context, IReadOnlyList<IExampleSource> sources)
    {
        var files = sources.OfType<IFileReport>().ToList();
        if (FileNotes.CountKinds(files.SelectMany(f => f.Unread)) is { Count: > 0 } unread)
            yield return FileNotes.DescribeUnread(unread);
        if (files.SelectMany(f => f.WithoutText).ToList() is { Count: > 0 } empty)
            yield return FileNotes.DescribeEmpty(empty);
        var conversations = sources.OfType<ConversationSource>().ToList();
        if (conversations.Sum(s => s.Shortened) is > 0 and var shortened)
            yield return $"{shortened:N0} examples were longer than {context:N0} tokens. Text that is not learned was removed from "
                + "their middle.";
        if (conversations.Sum(s => s.CutAnswers) is > 0 and var cutAnswers)
            yield return $"{cutAnswers:N0} answers in {conversations.Sum(s => s.Cut.Count):N0} examples did not fit into {context:N0} "
                + "tokens. Their end, or all of their text, is not learned, so these examples do not teach the model to stop. Use a larger "
                + "context, or divide the conversations. The first: "
                + $"{string.Join(", ", conversations.SelectMany(s => s.Cut.First).Take(3))}.";
        if (conversations.Sum(s => s.LeftOut) is > 0 and var leftOut)
            yield return $"{leftOut:N0} conversations have no answer to learn and were left out.";
        if (conversations.Sum(s => s.WithoutTools) is > 0 and var withoutTools)
            yield return $"{withoutTools:N0} conversations have tools, but the template does not write them, so the model does not see "
                + "them.";
        if (conversations.Sum(s => s.Unwritten.Characters) is > 0 and var unwritten)
            yield return $"The template left out {unwritten:N0} of {conversations.Sum(s => s.Unwritten.All):N0} characters of the "
                + "answers, in "
                + $"{conversations.Sum(s => s.Unwritten.Examples):N0} examples. They are not learned."
                + (conversations.Exists(s => s.CanKeepReasoning) ? " If they are reasoning, set keep-reasoning to learn them." : "")
                + (
                    conversations.SelectMany(s => s.TemplateVariables).Distinct().ToList() is { Count: > 0 } variables
                        ? $" The template has switches of its own, which template-options sets: {string.Join(", ", variables)}."
                        : ""
                );
        if (conversations.Sum(s => s.WithoutEnd) is > 0 and var withoutEnd)
            yield return $"{withoutEnd:N0} examples do not teach the model to stop, because the template writes no end token.";
        if (conversations.Sum(s => s.EndedByText) is > 0 and var byText)
            yield return $"{byText:N0} examples end with the text '{conversations.First(s => s.EndedByText > 0).EndText}', because the "
                + "tokenizer has no such token. longlora chat and serve stop at it with the same template. Set it as a stop text in "
                + "other programs.";
    }

    /// <inheritdoc/>
    public void Dispose() => Tokens.Dispose();
}
