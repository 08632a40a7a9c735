using System.Security.Cryptography;
using System.Text;
using LongLora.Data;
using LongLora.Documents.Corpus;

namespace LongLora.Documents.Questions;

/// <summary>A prompt that asks a model to write a question and its answer.</summary>
/// <param name="Id">Identifies an answer: the same task and text give the same id.</param>
/// <param name="Source">Where the text comes from.</param>
/// <param name="Task">The kind of question.</param>
/// <param name="Material">The text.</param>
internal sealed record QuestionPrompt(string Id, string Source, QuestionTask Task, string Material)
{
    /// <summary>Tells the writing model its role and the format of its answer.</summary>
    public const string System =
        "You write training data for language models that read long documents. You are given a text and write one question about it "
        + "together with its answer. "
        + "The question stands on its own: it does not mention these instructions. The answer rests on the text alone and says nothing "
        + "that the text does not support. "
        + "Write in the language of the text. Reply with one JSON object with the two strings \"question\" and \"answer\", and with "
        + "nothing else.";

    /// <summary>The instruction to the model.</summary>
    public string User =>
        $"The text begins.\n\n{Material}\n\nThe text ends.\n\n{Task.Instruction} Reply with {{\"question\": \"...\", \"answer\": "
        + $"\"...\"}}.";

    /// <summary>
    /// The words that LongLoRA puts around a text and a question (its <c>format_prompt</c>), so that a model trained on them is asked in
    /// the way it was trained.
    /// </summary>
    public static string MakeInstruction(MaterialKind kind, string material, string question) =>
        kind switch
        {
            MaterialKind.Paper =>
                $"Below is a paper. Memorize the material and answer my question after the paper.\n {material} \n Now the material "
                    + $"ends. {question}",
            MaterialKind.Book =>
                $"Below is some paragraphs in the book. Memorize the content and answer my question after the book.\n {material} \n Now "
                    + $"the material ends. {question}",
            _ => $"Below is a material. Memorize the material and answer my question after the material. \n {material} \n Now the "
                + $"material ends. {question}",
        };

    /// <summary>All prompts for some documents, in order. Files that cannot be read are reported and skipped.</summary>
    public static IEnumerable<QuestionPrompt> Of(QuestionOptions options, Action<LeftOutFile>? leftOut)
    {
        var turn = 0;
        return ReadChunks(options, leftOut)
            .SelectMany(chunk =>
                Enumerable.Range(0, options.PerChunk).Select(_ => Of(options.Tasks[turn++ % options.Tasks.Count], chunk.Source, chunk.Text))
            )
            .Take(options.Limit ?? int.MaxValue);
    }

    private static QuestionPrompt Of(QuestionTask task, string source, string text)
    {
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{System}\n{task.Instruction}\n{text}"));
        return new QuestionPrompt(Convert.ToHexStringLower(hash)[..24], source, task, text);
    }

    private static IEnumerable<(string Source, string Text)> ReadChunks(QuestionOptions options, Action<LeftOutFile>? leftOut) =>
        CorpusSource
            .Find(options.Data, options.Output)
            .SelectMany(source => source.Guard(ReadChunks(source, options.ChunkCharacters), leftOut));

    private static IEnumerable<(string Source, string Text)> ReadChunks(CorpusSource source, int length)
    {
        using var file = DataFiles.Open(source.Path);
        foreach (var (text, origin) in source.Reader.Read(file, source.Path))
        {
            using var clean = new CleanText(text);
            foreach (var chunk in Cut(clean, length))
                yield return (source.Name + origin[source.Path.Length..], chunk);
        }
    }

    /// <summary>
    /// Cuts a text into chunks of at most <paramref name="length"/> characters: at an empty line in the second half, else at a line end,
    /// else at the end of a sentence, else at a space. A last chunk shorter than a quarter is too short to ask about and is left out,
    /// unless it is the only one.
    /// </summary>
    internal static IEnumerable<string> Cut(TextReader text, int length)
    {
        var buffer = new char[length];
        var filled = 0;
        for (var isFirst = true; ; isFirst = false)
        {
            filled += text.ReadBlock(buffer.AsSpan(filled));
            if (filled < length)
            {
                if (new string(buffer, 0, filled).Trim() is { Length: > 0 } last && (isFirst || filled >= length / 4))
                    yield return last;
                yield break;
            }
            var cut = FindCut(buffer);
            yield return new string(buffer, 0, cut).Trim();
            buffer.AsSpan(cut).CopyTo(buffer);
            filled -= cut;
        }
    }

    private static int FindCut(ReadOnlySpan<char> text)
    {
        var half = text.Length / 2;
        foreach (var mark in (ReadOnlySpan<string>)["\n\n", "\n", ". ", " "])
        {
            var at = text[half..].LastIndexOf(mark);
            if (at >= 0)
                return half + at + mark.Length;
        }
        return char.IsHighSurrogate(text[^1]) ? text.Length - 1 : text.Length;
    }
}
