using System.Globalization;
using LongLora.Generation;
using LongLora.Generation.Structured;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>What a client wants to be generated, checked: every endpoint that generates makes one of its own fields.</summary>
/// <param name="Model">The model that answers.</param>
/// <param name="Prompts">Token ids of one or more prompts.</param>
/// <param name="IsChat">Whether it is a conversation, whose answer ends where the template says.</param>
/// <param name="Options">How. It has a seed.</param>
internal sealed record GenerationRequest(ChatModel Model, IReadOnlyList<IReadOnlyList<int>> Prompts, bool IsChat, GenerationOptions Options)
{
    /// <summary>The conversation with what binds its answer; null for a text.</summary>
    internal PreparedChat? Chat { get; init; }

    /// <summary>Answers to each prompt.</summary>
    internal int Choices { get; init; } = 1;

    /// <summary>Whether the answer is sent piece by piece.</summary>
    internal bool IsStream { get; init; }

    /// <summary>Whether a stream ends with the numbers of tokens.</summary>
    internal bool SendsUsage { get; init; }

    /// <summary>Number of all answers.</summary>
    internal int Count => Prompts.Count * Choices;

    /// <summary>The pieces of one answer. Choice i of a prompt is drawn with the seed plus i.</summary>
    /// <param name="index">Number of the answer: all choices of the first prompt come first.</param>
    /// <param name="progress">Receives how much of the prompt has been read; null for nobody.</param>
    internal IAsyncEnumerable<AnswerPiece> AnswerAsync(int index, IProgress<PromptProgress>? progress)
    {
        var options = Options with { Seed = unchecked(Options.Seed + (index % Choices)), PromptProgress = progress };
        var prompt = Prompts[index / Choices];
        return IsChat ? Model.AnswerTokensAsync(prompt, options) : Model.CompleteTokensAsync(prompt, options);
    }

    /// <summary>Checks that every prompt leaves room for an answer.</summary>
    /// <param name="name">The field of the prompts.</param>
    /// <exception cref="ApiException">One is empty or too long.</exception>
    internal GenerationRequest RequireRoom(string name)
    {
        foreach (var prompt in Prompts)
            RequireRoom(Model, name, prompt);
        return this;
    }

    /// <summary>Checks that a prompt leaves room for an answer.</summary>
    /// <param name="model">The model that answers.</param>
    /// <param name="name">The field of the prompt.</param>
    /// <param name="prompt">Its token ids.</param>
    /// <param name="mayFill">Whether it may fill the context, because it is measured and nothing follows it.</param>
    /// <exception cref="ApiException">It is empty or too long.</exception>
    internal static void RequireRoom(ChatModel model, string name, IReadOnlyList<int> prompt, bool mayFill = false)
    {
        if (prompt.Count == 0)
            throw new ApiException(
                400,
                $"{name} is empty, and the model has no token that begins a text. Give at least one character.",
                name,
                "invalid_value"
            );
        if (prompt.Count >= model.Context + (mayFill ? 1 : 0))
            throw RefuseLength(model, name, prompt.Count.ToString("N0", CultureInfo.InvariantCulture));
    }

    /// <summary>The error for a prompt that was given up before all of it was encoded.</summary>
    internal static ApiException RefuseLength(ChatModel model, string name, TextTooLongException tooLong) =>
        RefuseLength(model, name, string.Create(CultureInfo.InvariantCulture, $"at least {tooLong.AtLeast:N0}"));

    private static ApiException RefuseLength(ChatModel model, string name, string count) =>
        new(
            400,
            $"{name} has {count} tokens; the context of {model.Context:N0} tokens leaves no room for an answer. Shorten it.",
            name,
            "context_length_exceeded"
        );
}
