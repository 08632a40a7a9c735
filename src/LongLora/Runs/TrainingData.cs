using LongLora.Configs;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Runtime;

namespace LongLora.Runs;

/// <summary>The one way from data files to tokens and batches, for every kind of training.</summary>
internal sealed class TrainingData : IDisposable
{
    private readonly FineTuneOptions _options;

    private TrainingData(FineTuneOptions options, TokenStore tokens) => (_options, Tokens) = (options, tokens);

    /// <summary>The tokens.</summary>
    public TokenStore Tokens { get; }

    /// <summary>What was done to the data that its owner may want to know, such as examples that were shortened; sentences.</summary>
    public IReadOnlyList<string> Notes => Tokens.Notes;

    /// <summary>
    /// The model that the data is read for. If the run is to train a new one, this is what is known of it before the run.
    /// </summary>
    /// <param name="model">A folder, or the config of a new model and the folder of its tokenizer.</param>
    /// <exception cref="LongLoraException">A file of it is missing, damaged or not supported.</exception>
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
    /// <param name="options">Data, task, and how they are read.</param>
    /// <param name="model">The model that is trained; it needs a tokenizer for all but token <c>.bin</c>.</param>
    /// <param name="readers">Readers of further kinds of files; null for none.</param>
    /// <param name="cancellation">Looked at once a document.</param>
    /// <exception cref="LongLoraException">A file cannot be read, or options do not fit it.</exception>
    public static TrainingData Open(
        FineTuneOptions options,
        ModelSource model,
        IReadOnlyList<IDocumentReader>? readers = null,
        CancellationToken cancellation = default
    )
    {
        var sources = Sources(model, options.Data, options.Model.Context, readers);
        var cache = options.Data.TokenCache.Length > 0 ? new TokenCache(options.Data.TokenCache, CacheParts(options, model)) : null;
        // An example ends with its own end-of-text token; between texts one is written here.
        var separator = options.Data.Task == TrainingTask.Sft ? null : model.Separator;
        return new TrainingData(
            options,
            TokenStore.Build(sources, separator, null, cache, () => [.. NotesOn(options.Model.Context, sources)], cancellation)
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
            weights: [.. _options.Data.Sources.Select(d => d.Weight)]
        );

    /// <summary>The sources of a run, one for each path.</summary>
    /// <param name="model">The model; it needs a tokenizer for all but token <c>.bin</c>.</param>
    /// <param name="data">Files, task, and how they are read.</param>
    /// <param name="context">Tokens that examples must fit.</param>
    /// <param name="readers">Readers of further kinds of files; null for none.</param>
    /// <param name="vocabularySize">V, where an adapter gave the model more token ids; null for the model's own.</param>
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
                $"sft needs a tokenizer; '{model.Location}' has no tokenizer.model or tokenizer.json. Copy the one that the model was "
                    + $"trained with into the folder."
            );
        var template = model.FindTemplate(data.Template);
        var format = new ConversationFormat(data.Columns);
        return
        [
            .. data.Sources.Select(d => new ConversationSource(
                [d.Path],
                format,
                template,
                tokenizer,
                vocabulary,
                context,
                readers?.OfType<IRecordReader>()
            )),
        ];
    }

    // Everything that a token depends on: the model's small files by what is in them, since a run from scratch has copies, and the data
    // by length and time of change.
    private static IEnumerable<string> CacheParts(FineTuneOptions options, ModelSource model)
    {
        var tokens = options.Data.Task == TrainingTask.Sft ? OptionEffect.AnswerTokens : OptionEffect.TextTokens;
        var texts = File.Exists(options.Data.Template) ? model.TextFiles.Append(options.Data.Template) : model.TextFiles;
        var data = options
            .Data.Sources.Select(d => DataFiles.Locate(d.Path))
            .SelectMany(path => Directory.Exists(path) ? Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories) : [path]);
        return
        [
            "tokens 3",
            Recipe.Version,
            $"vocabulary: {model.Config.VocabularySize}",
            $"ends: {string.Join(' ', model.Config.EosTokenIds)}",
            .. FineTuneOptionTable.All.Where(o => o.Effect.HasFlag(tokens)).Select(o => $"{o.Name}: {o.Format(options)}"),
            .. texts.Select(TokenCache.DescribeContent),
            .. model.TextDigest is { } digest ? [$"tokenizer: {digest}"] : (IEnumerable<string>)[],
            .. data.Order(StringComparer.Ordinal).Select(TokenCache.DescribeFile),
        ];
    }

    /// <summary>What was done to the data as far as it was read, in sentences.</summary>
    /// <param name="context">The context that examples had to fit.</param>
    /// <param name="sources">The sources of a run.</param>
    public static IEnumerable<string> NotesOn(int context, IReadOnlyList<IExampleSource> sources)
    {
        var conversations = sources.OfType<ConversationSource>().ToList();
        if (conversations.Sum(s => s.Shortened) is > 0 and var shortened)
            yield return $"Examples of more than {context:N0} tokens: {shortened:N0}; the middle of what is only read was "
                + $"left out of them.";
        if (conversations.Sum(s => s.LeftOut) is > 0 and var leftOut)
            yield return $"Conversations without an answer to learn, left out: {leftOut:N0}.";
        if (conversations.Sum(s => s.WithoutTools) is > 0 and var withoutTools)
            yield return $"Conversations with tools, for which the template has no place, so that the model does not see them: "
                + $"{withoutTools:N0}.";
        if (conversations.Sum(s => s.WithoutEnd) is > 0 and var withoutEnd)
            yield return $"Examples that no token ends, since the template writes none, so that they do not teach the model to stop: "
                + $"{withoutEnd:N0}.";
        if (conversations.Sum(s => s.EndedByText) is > 0 and var byText)
            yield return $"Examples that end with a text, '{conversations.First(s => s.EndedByText > 0).EndText}', since the tokenizer has "
                + $"no such token: {byText:N0}. chat and serve stop at it with the same template; other programs must be told to.";
    }

    /// <inheritdoc/>
    public void Dispose() => Tokens.Dispose();
}
