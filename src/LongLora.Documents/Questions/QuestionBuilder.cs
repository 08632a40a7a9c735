using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Documents.Corpus;
using LongLora.Runtime;

namespace LongLora.Documents.Questions;

/// <summary>
/// Turns documents into questions with answers for supervised fine-tuning. It cuts documents into chunks, lets a model write a question and
/// its answer about each, and writes them in Alpaca's format with the chunk in the instruction, as in LongAlpaca. Without a service it
/// writes the prompts in the format of batch files (<c>custom_id</c>, <c>method</c>, <c>url</c>, <c>body</c>), and <see cref="TakeBatch"/>
/// reads the results.
/// <para>Answers are saved in <c>OUTPUT.answers.jsonl</c> as they arrive. A run that was stopped, or a run over more documents, asks only
/// for missing answers.</para>
/// </summary>
public static class QuestionBuilder
{
    internal const string JournalEnding = ".answers.jsonl";

    internal static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Asks the service, or writes the prompts, and writes the output.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Reports every finished prompt; called by one thread at a time.</param>
    /// <param name="cancellation">Stops the work. Answers so far are kept.</param>
    /// <exception cref="DataException">A path does not exist, or there is no text to ask about.</exception>
    /// <exception cref="ConfigurationException">
    /// The service refuses the request or cannot be reached, or the output cannot be written.
    /// </exception>
    public static async Task<QuestionReport> BuildAsync(
        QuestionOptions options,
        IProgress<int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        options.Validate();
        if (options.Endpoint is null)
            return WritePrompts(options, cancellation);
        using var journal = new AnswerJournal(GetJournalPath(options.Output));
        using var endpoint = new ChatEndpoint(options);
        var (done, asked) = (0, 0);
        var counting = new Lock();
        var all = new ParallelOptions { MaxDegreeOfParallelism = options.Parallel, CancellationToken = cancellation };
        await Parallel
            .ForEachAsync(QuestionPrompt.Of(options, null), all, async (prompt, stop) =>
            {
                if (
                    journal.Find(prompt.Id) is null
                    && await endpoint.AskAsync(prompt, QuestionAnswer.Parse, stop).ConfigureAwait(false) is { } answer
                )
                {
                    journal.Add(prompt.Id, answer);
                    Interlocked.Increment(ref asked);
                }
                lock (counting)
                    progress?.Report(++done);
            })
            .ConfigureAwait(false);
        return WriteAnswers(options, journal, asked);
    }

    /// <summary>
    /// Reads the results of a batch, a file with <c>custom_id</c> and <c>response.body</c> on each line, and then writes the output from
    /// all answers.
    /// </summary>
    /// <param name="options">The options that the prompts were made with.</param>
    /// <param name="results">The file.</param>
    /// <exception cref="DataException">The file has another format.</exception>
    public static QuestionReport TakeBatch(QuestionOptions options, string results)
    {
        options.Validate();
        if (!File.Exists(results))
            throw new DataException($"There is no file '{results}'.");
        using var journal = new AnswerJournal(GetJournalPath(options.Output));
        var (number, taken) = (0, 0);
        foreach (var line in File.ReadLines(results))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            try
            {
                using var json = JsonDocument.Parse(line);
                var id = json.RootElement.GetProperty("custom_id").GetString()!;
                if (
                    json.RootElement.TryGetProperty("response", out var response)
                    && response.ValueKind == JsonValueKind.Object
                    && response.TryGetProperty("body", out var body)
                    && ChatEndpoint.FindAnswer(body) is { } text
                    && QuestionAnswer.Parse(text) is { } answer
                )
                {
                    journal.Add(id, answer);
                    taken++;
                }
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
            {
                throw new DataException(
                    $"{results}:{number}: the line must be a batch result with 'custom_id' and 'response': {e.Message}",
                    e
                );
            }
        }
        return WriteAnswers(options, journal, taken);
    }

    private static string GetJournalPath(string output) => output + JournalEnding;

    private static QuestionReport WritePrompts(QuestionOptions options, CancellationToken cancellation)
    {
        var (count, leftOut) = (0, new List<LeftOutFile>());
        AtomicFile.Write(options.Output, stream =>
        {
            foreach (var prompt in QuestionPrompt.Of(options, leftOut.Add))
            {
                cancellation.ThrowIfCancellationRequested();
                var line = new
                {
                    custom_id = prompt.Id,
                    method = "POST",
                    url = "/v1/chat/completions",
                    body = ChatEndpoint.MakeBodyObject(prompt, options),
                };
                JsonSerializer.Serialize(stream, line, Json);
                stream.WriteByte((byte)'\n');
                count++;
            }
            RequireText(count, leftOut);
        });
        return new QuestionReport(options.Output, count, 0, 0, leftOut);
    }

    // In the order of the documents, whatever the order of the answers. The documents are read again instead of kept in memory.
    private static QuestionReport WriteAnswers(QuestionOptions options, AnswerJournal journal, int asked)
    {
        var (count, answered, leftOut) = (0, 0, new List<LeftOutFile>());
        AtomicFile.Write(options.Output, stream =>
        {
            stream.Write("[\n"u8);
            foreach (var prompt in QuestionPrompt.Of(options, leftOut.Add))
            {
                count++;
                if (journal.Find(prompt.Id) is not { } answer)
                    continue;
                if (answered++ > 0)
                    stream.Write(",\n"u8);
                var example = new
                {
                    instruction = QuestionPrompt.MakeInstruction(options.Kind, prompt.Material, answer.Question),
                    input = "",
                    output = answer.Answer,
                    task = prompt.Task.Name,
                    source = prompt.Source,
                };
                JsonSerializer.Serialize(stream, example, Json);
            }
            stream.Write("\n]\n"u8);
            RequireText(count, leftOut);
        });
        return new QuestionReport(options.Output, count, answered, asked, leftOut);
    }

    private static void RequireText(int count, List<LeftOutFile> leftOut)
    {
        if (count == 0)
            throw new DataException(
                leftOut.Count == 0
                    ? "The data contains no text: every file is empty."
                    : $"No file could be read. {string.Join(' ', leftOut.Take(5).Select(f => f.Reason))}"
            );
    }
}
