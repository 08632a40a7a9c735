using LongLora.Configs;
using LongLora.Data;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Runs;

/// <summary>The one way from data files to tokens and batches, for every kind of training.</summary>
public sealed class TrainingData : IDisposable
{
    private readonly FineTuneOptions _options;

    private TrainingData(FineTuneOptions options, TokenStore tokens, IReadOnlyList<string> notes) =>
        (_options, Tokens, Notes) = (options, tokens, notes);

    /// <summary>The tokens.</summary>
    public TokenStore Tokens { get; }

    /// <summary>What was done to the data that its owner may want to know, such as examples that were shortened; sentences.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Reads the data of a run.</summary>
    /// <param name="options">Data, task, and how they are read.</param>
    /// <param name="tokenizer">The model's tokenizer; null is enough for token <c>.bin</c>.</param>
    /// <param name="config">The model.</param>
    /// <param name="readers">Readers of further kinds of files; null for none.</param>
    /// <param name="cancellation">Looked at once a document.</param>
    /// <exception cref="LongLoraException">A file cannot be read, or options do not fit it.</exception>
    public static TrainingData Open(
        FineTuneOptions options,
        ITokenizer? tokenizer,
        ModelConfig config,
        IReadOnlyList<IDocumentReader>? readers = null,
        CancellationToken cancellation = default
    )
    {
        var sources = Sources(options.Model, options.Data, tokenizer, config, readers);
        var cache = options.Data.TokenCache.Length > 0 ? new TokenCache(options.Data.TokenCache, CacheParts(options, config)) : null;
        // An example ends with its own end-of-text token; between texts one is written here.
        var separator =
            options.Data.Task == TrainingTask.Sft ? null : tokenizer?.EosTokenId ?? config.EosTokenIds.Cast<int?>().FirstOrDefault();
        var tokens = TokenStore.Build(sources, separator, null, cache, cancellation);
        return new TrainingData(options, tokens, [.. NotesOn(options.Model.Context, sources)]);
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
    /// <param name="model">The model's folder, and the context that examples must fit.</param>
    /// <param name="data">Files, task, and how they are read.</param>
    /// <param name="tokenizer">The model's tokenizer; null is enough for token <c>.bin</c>.</param>
    /// <param name="config">The model.</param>
    /// <param name="readers">Readers of further kinds of files; null for none.</param>
    public static IReadOnlyList<IExampleSource> Sources(
        ModelOptions model,
        DataOptions data,
        ITokenizer? tokenizer,
        ModelConfig config,
        IReadOnlyList<IDocumentReader>? readers = null
    )
    {
        if (data.Task == TrainingTask.Text)
            return [.. data.Sources.Select(d => ExampleSources.Open([d.Path], tokenizer, config.VocabularySize, readers, data.TokenBytes))];
        if (tokenizer is null)
            throw new DataException(
                $"sft needs a tokenizer; '{model.Path}' has no tokenizer.model or tokenizer.json. Copy the one that the model was "
                    + $"trained with into the folder."
            );
        var template = data.Template == "auto" ? ChatTemplate.ReadOfModel(model.Path) : ChatTemplate.Find(data.Template, model.Path);
        var format = new ConversationFormat(data.Columns);
        return
        [
            .. data.Sources.Select(d => new ConversationSource(
                [d.Path],
                format,
                template,
                tokenizer,
                config.VocabularySize,
                model.Context,
                readers?.OfType<IRecordReader>()
            )),
        ];
    }

    // Everything that a token depends on; files by length and time of change.
    private static IEnumerable<string> CacheParts(FineTuneOptions options, ModelConfig config)
    {
        var tokens = options.Data.Task == TrainingTask.Sft ? OptionEffect.AnswerTokens : OptionEffect.TextTokens;
        var files = Directory
            .EnumerateFiles(options.Model.Path)
            .Where(f =>
                Path.GetFileName(f) is var name
                && (name.Contains("token", StringComparison.Ordinal) || name.StartsWith("chat_template", StringComparison.Ordinal))
            )
            .Concat(
                options.Data.Sources.SelectMany(d =>
                    Directory.Exists(d.Path) ? Directory.EnumerateFiles(d.Path, "*", SearchOption.AllDirectories) : [d.Path]
                )
            );
        if (File.Exists(options.Data.Template))
            files = files.Append(options.Data.Template);
        return
        [
            "tokens 2",
            Recipe.Version,
            $"vocabulary: {config.VocabularySize}",
            $"ends: {string.Join(' ', config.EosTokenIds)}",
            .. FineTuneOptionTable.All.Where(o => o.Effect.HasFlag(tokens)).Select(o => $"{o.Name}: {o.Format(options)}"),
            .. files.Order(StringComparer.Ordinal).Select(TokenCache.DescribeFile),
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
    }

    /// <inheritdoc/>
    public void Dispose() => Tokens.Dispose();
}
