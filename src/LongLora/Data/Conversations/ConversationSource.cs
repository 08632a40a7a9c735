using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>Tokenized conversations from files, of which the answers are to be learned.</summary>
internal sealed class ConversationSource : IExampleSource, IFileReport
{
    // The most examples that a message names.
    private const int MostNamed = 3;

    private readonly ConversationFiles _files;
    private readonly ChatTemplate? _template;
    private readonly ITokenizer _tokenizer;
    private readonly int _vocabularySize,
        _maxLength;
    private readonly bool _keepReasoning;

    /// <summary>Opens files and folders.</summary>
    /// <param name="paths">Files and folders: <c>.json</c>, <c>.jsonl</c>, compressed or not, and what further readers support.</param>
    /// <param name="format">The layouts and the names of fields.</param>
    /// <param name="template">Writes the conversations; may be null if all of them are prompts and completions.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="vocabularySize">V: every id must be below it.</param>
    /// <param name="maxLength">Longer examples are shortened to this many tokens.</param>
    /// <param name="readers">Readers of further file types, such as Parquet; null for none.</param>
    /// <param name="keepReasoning">Whether to write the reasoning of answers where the template would leave it out.</param>
    /// <exception cref="DataException">A path does not exist, or a folder contains no readable file.</exception>
    public ConversationSource(
        IEnumerable<string> paths,
        ConversationFormat format,
        ChatTemplate? template,
        ITokenizer tokenizer,
        int vocabularySize,
        int maxLength,
        IEnumerable<IRecordReader>? readers = null,
        bool keepReasoning = false
    )
    {
        _keepReasoning = keepReasoning;
        (_template, _tokenizer, _vocabularySize, _maxLength) = (template, tokenizer, vocabularySize, maxLength);
        _files = new ConversationFiles(paths, format, readers);
        EndText = template?.FindEndOfAnswer(tokenizer) is { Token: null } end ? end.Text : "";
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Unread => _files.Unread;

    /// <inheritdoc/>
    public IReadOnlyList<string> WithoutText => _files.WithoutText;

    /// <summary>Number of examples returned by the last reading that were shortened.</summary>
    public long Shortened { get; private set; }

    /// <summary>Answers of examples returned by the last reading whose end, or all of their text, did not fit.</summary>
    public long CutAnswers { get; private set; }

    /// <summary>Where the examples of <see cref="CutAnswers"/> come from: the number of examples, and the first ones.</summary>
    public (long Count, IReadOnlyList<string> First) Cut { get; private set; } = (0, []);

    /// <summary>Number of conversations in the last reading that had no answer to learn and were left out.</summary>
    public long LeftOut { get; private set; }

    /// <summary>Number of conversations in the last reading whose list of tools the template does not write.</summary>
    public long WithoutTools { get; private set; }

    /// <summary>
    /// Number of examples returned by the last reading whose last answer does not end with a token of its own, so that the model does not
    /// learn to stop.
    /// </summary>
    public long WithoutEnd { get; private set; }

    /// <summary>
    /// What the template left out of the learned answers in the last reading: examples, characters without white space, and how many
    /// characters the answers of all examples have.
    /// </summary>
    public (long Examples, long Characters, long All) Unwritten { get; private set; }

    /// <summary>Variables of the template that template-options can set.</summary>
    public IReadOnlyList<string> TemplateVariables => _template?.Variables ?? [];

    /// <summary>Whether reasoning that the template leaves out could be written.</summary>
    public bool CanKeepReasoning => !_keepReasoning && _template is { KnowsReasoning: true };

    /// <summary>
    /// Of the examples that the last reading gave out, those whose last answer ends with <see cref="EndText"/> because the tokenizer has
    /// no token for it.
    /// </summary>
    public long EndedByText { get; private set; }

    /// <summary>The text that ends answers where the tokenizer has no such token; empty where it has one, or none is written.</summary>
    public string EndText { get; }

    /// <inheritdoc/>
    /// <exception cref="DataException">A record is wrong, or there is nothing to learn.</exception>
    public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default)
    {
        (Shortened, LeftOut, WithoutTools, WithoutEnd, EndedByText, Unwritten) = (0, 0, 0, 0, 0, default);
        (CutAnswers, Cut) = (0, (0, []));
        var isEmpty = true;
        foreach (var conversation in _files.Read(cancellation))
        {
            if (Encode(conversation) is not { } example)
            {
                LeftOut++;
                continue;
            }
            isEmpty = false;
            yield return example;
        }
        if (isEmpty)
            throw new DataException(
                $"{_files}: there is nothing to learn because "
                    + $"{(LeftOut == 0 ? "there are no records" : $"none of {LeftOut:N0} conversations has an answer")}."
            );
    }

    /// <summary>The conversations as the files contain them.</summary>
    /// <param name="cancellation">Checked once per conversation.</param>
    public IEnumerable<Conversation> ReadConversations(CancellationToken cancellation = default) => _files.Read(cancellation);

    private TrainingExample? Encode(Conversation conversation)
    {
        var rendered = Render(conversation);
        var (ids, isAnswer) = rendered.Encode(_tokenizer);
        if (ids.FirstOrDefault(id => id >= _vocabularySize) is > 0 and var wrong)
            throw new DataException(
                $"{conversation.Origin}: the tokenizer gives id {wrong}, but the model has {_vocabularySize} ids. Tokenizer and model "
                    + $"do not match."
            );
        // Nothing after the last answer is learned.
        var length = isAnswer.ToList().LastIndexOf(true) + 1;
        if (length == 0)
            return null;
        var labels = ids.Take(length).Select((id, i) => isAnswer[i] ? id : TrainingExample.IgnoredLabel);
        var example = new TrainingExample([.. ids.Take(length)], [.. labels], conversation.Origin);
        if (length > _maxLength)
        {
            Shortened++;
            (example, var cut) = ExampleShortener.Shorten(example, _maxLength, rendered.FindMarks(_tokenizer));
            if (cut > 0)
            {
                CutAnswers += cut;
                Cut = (Cut.Count + 1, Cut.Count < MostNamed ? [.. Cut.First, conversation.Origin] : Cut.First);
                return example;
            }
        }
        if (EndText.Length > 0 && rendered.Text[..rendered.Answers[^1].End].EndsWith(EndText, StringComparison.Ordinal))
            EndedByText++;
        else
            WithoutEnd += TokenText.IsControl(_tokenizer, ids[length - 1]) ? 0 : 1;
        return example;
    }

    private RenderedChat Render(Conversation conversation)
    {
        foreach (var message in conversation.Messages)
            MessageFields.RequireKnown(message, _template, conversation.Origin);
        if (conversation.IsPlain)
            return RenderedChat.FromPlainText(conversation.Messages[0].Content, conversation.Messages[1].Content, _tokenizer);
        if (_template is null)
            throw new ConfigurationException(
                $"{conversation.Origin} is a conversation, but the model has no chat template. Set the template to one of "
                    + $"{string.Join(", ", ChatTemplate.Names)}, or to a file."
            );
        try
        {
            WithoutTools += conversation.Tools is not null && !_template.WritesTools ? 1 : 0;
            var rendered = _keepReasoning
                ? _template.RenderReasoning(conversation.Messages, _tokenizer, conversation.Tools)
                : _template.Render(conversation.Messages, _tokenizer, tools: conversation.Tools);
            var (unwritten, all) = rendered.CountUnwritten(conversation.Messages);
            Unwritten = (Unwritten.Examples + (unwritten > 0 ? 1 : 0), Unwritten.Characters + unwritten, Unwritten.All + all);
            return rendered;
        }
        catch (DataException e)
        {
            var roles = string.Join(", ", conversation.Messages.Select(m => m.Role));
            throw new DataException(
                $"{conversation.Origin}: the template cannot write the conversation ({roles}): {e.Message}. Correct the record, or choose "
                    + $"another template.",
                e
            );
        }
    }
}
