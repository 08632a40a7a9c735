using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Documents;
using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Cli;

/// <summary>A conversation with a model: its messages, and the documents that go before the next question.</summary>
internal sealed class ChatSession(ChatModel model, GenerationOptions options)
{
    private static readonly JsonSerializerOptions s_json = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly List<ChatMessage> _messages = [];
    private readonly List<(string Name, string Text)> _documents = [];
    private string? _system;

    internal ChatModel Model => model;

    internal GenerationOptions Options => options;

    /// <summary>Number of tokens in the conversation as the model last read it, with its answer.</summary>
    internal int Used { get; private set; }

    /// <summary>
    /// Sets the text that the model reads before everything else; an empty text removes it. The conversation starts again, because its
    /// messages were written without the text.
    /// </summary>
    internal void SetSystem(string text)
    {
        var before = _system;
        _system = text.Length > 0 ? text : null;
        try
        {
            model.Encode(MakeConversation([], "?"));
        }
        catch
        {
            _system = before;
            throw;
        }
        _messages.Clear();
        Used = 0;
    }

    /// <summary>Puts a document before the next question, if it fits.</summary>
    /// <returns>Its number of tokens.</returns>
    /// <exception cref="DataException">It cannot be read, or it does not fit into the context.</exception>
    internal int Load(string path)
    {
        var (text, name) = (DocumentText.Read(path), Path.GetFileName(path));
        var tokens = model.Tokenizer.Encode(text).Count;
        var needed = model.Encode(MakeConversation([.. _documents, (name, text)], "?")).Count;
        if (needed >= model.Context)
        {
            throw new DataException(
                $"Cannot load '{name}' with {tokens:N0} tokens because the conversation would have {needed:N0}, and the context is "
                    + $"{model.Context:N0}. "
                    + "Load a part of it, start again with /reset, or use a model with a longer context (longlora "
                    + "train makes one)."
            );
        }
        _documents.Add((name, text));
        return tokens;
    }

    /// <summary>Forgets all messages and documents. The system text is kept.</summary>
    internal void Reset()
    {
        _messages.Clear();
        _documents.Clear();
        Used = 0;
    }

    /// <summary>Asks a question. A question that fails, or whose answer is stopped before it starts, is not kept.</summary>
    /// <param name="question">The question.</param>
    /// <param name="reading">Reports how much of the conversation has been read.</param>
    /// <param name="cancellation">Stops the answer. What it says by then stays in the conversation.</param>
    internal IEnumerable<AnswerPiece> Ask(string question, IProgress<PromptProgress> reading, CancellationToken cancellation)
    {
        var conversation = MakeConversation(_documents, question);
        var (said, isWhole) = (new StringBuilder(), false);
        try
        {
            var answer = model.AnswerAsync(conversation, options with { PromptProgress = reading }, cancellation);
            foreach (var piece in answer.ToBlockingEnumerable(cancellation))
            {
                said.Append(piece.Text);
                if (piece.Result is { } result)
                    (isWhole, Used) = (true, result.PromptTokens + result.Tokens.Count);
                yield return piece;
            }
        }
        finally
        {
            if (isWhole || said.Length > 0)
                Keep(conversation, said.ToString());
        }
    }

    /// <summary>Writes the conversation as <c>messages</c> in JSON, which <c>longlora sft</c> reads.</summary>
    internal void Save(string path) =>
        AtomicFile.WriteText(
            path,
            JsonSerializer.Serialize(
                new { messages = WithSystem(_messages).Select(m => new { role = m.Role, content = m.Content }) },
                s_json
            ) + "\n"
        );

    private void Keep(List<ChatMessage> conversation, string answer)
    {
        _messages.Clear();
        _messages.AddRange(conversation.Skip(_system is null ? 0 : 1));
        _messages.Add(new(ChatMessage.Assistant, answer));
        _documents.Clear();
    }

    private List<ChatMessage> MakeConversation(IReadOnlyList<(string Name, string Text)> documents, string question) =>
        WithSystem([.. _messages, new("user", string.Concat(documents.Select(d => d.Text.TrimEnd() + "\n\n")) + question)]);

    private List<ChatMessage> WithSystem(IReadOnlyList<ChatMessage> messages) =>
        _system is null ? [.. messages] : [new("system", _system), .. messages];
}
