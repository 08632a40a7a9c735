using LongLora.Runtime;

namespace LongLora.Documents.Questions;

/// <summary>One kind of question.</summary>
/// <param name="Name">Its name on the command line.</param>
/// <param name="Instruction">What the writing model is told.</param>
public sealed record QuestionTask(string Name, string Instruction)
{
    /// <summary>All kinds, in the order in which they are used.</summary>
    public static IReadOnlyList<QuestionTask> All { get; } =
    [
        new(
            "summarise",
            "Ask for a summary of the whole text, or of one thread that runs through it. The answer is that summary, in 100 to 250 words."
        ),
        new(
            "find",
            "Ask for one fact that the text states in exactly one place, not near its beginning or end, and that cannot be guessed. The "
                + "answer names it in one or two sentences."
        ),
        new(
            "compare",
            "Ask to compare two people, things, claims or results that the text treats in different places. The answer says what they "
                + "share and where they differ."
        ),
        new(
            "why",
            "Ask why something in the text is so, or happened. The answer gives the reasons, put together from all places that name one."
        ),
    ];

    /// <summary>The kind with that name.</summary>
    /// <exception cref="ConfigurationException">The name is unknown; the message lists all names.</exception>
    public static QuestionTask Of(string name) =>
        All.FirstOrDefault(t => t.Name == name)
        ?? throw new ConfigurationException(
            $"Option tasks has '{name}', which is unknown. Use "
                + $"{string.Join(", ", All.Select(t => t.Name))}.{NearestName.Hint(name, All.Select(t => t.Name))}"
        );
}
