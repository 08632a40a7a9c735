using System.Text;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Documents.Questions;

/// <summary>
/// Saves answers, one per line, as they arrive, because each answer cost time or money. An incomplete line of a killed process is dropped.
/// Thread-safe.
/// </summary>
internal sealed class AnswerJournal : IDisposable
{
    private readonly Dictionary<string, QuestionAnswer> _answers = new(StringComparer.Ordinal);
    private readonly FileStream _file;
    private readonly Lock _lock = new();

    private sealed record Line(string Id, string Question, string Answer);

    /// <summary>Opens the journal, or starts a new one.</summary>
    /// <exception cref="ConfigurationException">The file cannot be written.</exception>
    public AnswerJournal(string path)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException(
                $"Cannot write '{path}': {e.Message} Choose another output, free some space, or change " + $"the permissions.",
                e
            );
        }
        var bytes = new byte[_file.Length];
        _file.ReadExactly(bytes);
        var whole = bytes.AsSpan().LastIndexOf((byte)'\n') + 1;
        foreach (var line in Encoding.UTF8.GetString(bytes, 0, whole).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (Parse(line) is { } answer)
                _answers[answer.Id] = new QuestionAnswer(answer.Question, answer.Answer);
        }
        _file.SetLength(whole);
        _file.Position = whole;
    }

    /// <summary>The answer to a prompt, or null.</summary>
    public QuestionAnswer? Find(string id)
    {
        lock (_lock)
            return _answers.GetValueOrDefault(id);
    }

    /// <summary>Saves an answer in memory and on disk.</summary>
    public void Add(string id, QuestionAnswer answer)
    {
        lock (_lock)
        {
            _answers[id] = answer;
            _file.Write(JsonSerializer.SerializeToUtf8Bytes(new Line(id, answer.Question, answer.Answer), QuestionBuilder.Json));
            _file.WriteByte((byte)'\n');
            DurableFile.Flush(_file);
        }
    }

    public void Dispose() => _file.Dispose();

    private static Line? Parse(string line)
    {
        try
        {
            return
                JsonSerializer.Deserialize<Line>(line, QuestionBuilder.Json) is { Id: not null, Question: not null, Answer: not null } whole
                ? whole
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
