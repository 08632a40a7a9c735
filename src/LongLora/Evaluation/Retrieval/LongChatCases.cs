using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Evaluation;

/// <summary>
/// Questions from a file in LongChat's layout, asked word for word: JSON lines with <c>prompt</c> and, for <see cref="LinesTask"/>,
/// <c>expected_number</c>, for
/// <see cref="TopicsTask"/>, <c>topics</c>, the first of which is the answer.
/// </summary>
internal static partial class LongChatCases
{
    private const int CandidateCount = 10;

    /// <summary>Reads all questions of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="task">The task of the file: <see cref="LinesTask"/> or <see cref="TopicsTask"/>.</param>
    /// <exception cref="DataException">A line is not such a question; the message names file and line.</exception>
    public static IReadOnlyList<RetrievalCase> Read(string path, RetrievalTask task)
    {
        if (!File.Exists(path))
            throw new DataException($"There is no file '{path}'.");
        var cases = new List<RetrievalCase>();
        var number = 0;
        foreach (var line in Utf8TextReader.ReadFile(path).Split('\n'))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            cases.Add(
                Parse(line, task)
                    ?? throw new DataException(
                        $"{path}:{number}: this is not a question of LongChat's {task.Name}. A line must be a JSON object with "
                            + "\"prompt\" and "
                            + (
                                task is LinesTask
                                    ? "\"expected_number\" (a number)."
                                    : "\"topics\" (a list of topic names in order, each with a letter or digit)."
                            )
                    )
            );
        }
        return cases.Count > 0 ? cases : throw new DataException($"{path} contains no questions.");
    }

    private static RetrievalCase? Parse(string line, RetrievalTask task)
    {
        try
        {
            using var json = WholeJson.Parse(line);
            if (
                json.RootElement.ValueKind != JsonValueKind.Object
                || !json.RootElement.TryGetProperty("prompt", out var text)
                || text.GetString() is not { Length: > 0 } prompt
            )
                return null;
            return task is LinesTask
                ? json.RootElement.TryGetProperty("expected_number", out var value)
                    ? ParseLine(prompt, value.GetInt32())
                    : null
                : json.RootElement.TryGetProperty("topics", out var list) && list.GetArrayLength() > 0
                    ? ParseTopic(prompt, [.. list.EnumerateArray().Select(t => t.GetString() ?? "")])
                    : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    private static RetrievalCase ParseLine(string prompt, int value)
    {
        var values = Register().Matches(prompt);
        var place = values
            .TakeWhile(m => m.Groups[1].ValueSpan is var digits && !(int.TryParse(digits, out var seen) && seen == value))
            .Count();
        List<string> candidates =
        [
            $"{value}",
            .. values.Select(m => m.Groups[1].Value).Where(v => v != $"{value}").Distinct().Take(CandidateCount - 1),
        ];
        return new(prompt, $"{value}", (double)place / Math.Max(1, values.Count - 1), candidates);
    }

    private static RetrievalCase? ParseTopic(string prompt, string[] topics)
    {
        if (!topics.All(topic => topic.Any(char.IsLetterOrDigit)))
            return null;
        // The answer goes on from the prompt.
        var blank = char.IsWhiteSpace(prompt[^1]) ? "" : " ";
        return new(prompt, blank + topics[0], 0, [.. topics.Distinct().Take(CandidateCount).Select(topic => blank + topic)]);
    }

    [GeneratedRegex(@"REGISTER_CONTENT is <(\d+)>")]
    private static partial Regex Register();
}
