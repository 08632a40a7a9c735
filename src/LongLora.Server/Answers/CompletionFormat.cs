using LongLora.Generation;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/completions</c>.</summary>
/// <param name="request">The request.</param>
/// <param name="echo">Texts of the prompts, which begin the answers; null for answers alone.</param>
internal sealed class CompletionFormat(GenerationRequest request, IReadOnlyList<string>? echo) : EndpointFormat(request, "cmpl-")
{
    private readonly TokenOffsets?[] _offsets = new TokenOffsets?[request.Count];

    /// <summary>Whether the answers are the prompts alone.</summary>
    internal bool IsPromptOnly { get; init; }

    internal override object ToWhole(IReadOnlyList<GenerationResult> results) =>
        MakeAnswer(
            results
                .Select(Cut)
                .Select(
                    (result, index) =>
                        MakeChoice(
                            index,
                            FindEcho(index) + result.Text,
                            ToForm(index, result.PromptLogProbabilities, result.LogProbabilities),
                            GetReason(result)
                        )
                )
                .ToList(),
            CountTokens([.. results.Select(Cut)])
        );

    // With log-probabilities, a prompt is sent when they are known.
    internal override IEnumerable<StreamEvent> Begin() =>
        echo is null || Request.Options.MeasuresPrompt
            ? []
            : Enumerable.Range(0, Request.Count).Select(index => MakeChunk(index, FindEcho(index), null, null));

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece)
    {
        if (piece.PromptLogProbabilities is { } prompt)
            yield return MakeChunk(index, FindEcho(index), ToForm(index, prompt, null), null);
        else if (!IsPromptOnly)
            yield return MakeChunk(
                index,
                piece.Text,
                ToForm(index, null, piece.LogProbabilities),
                piece.Result is { } result ? GetReason(result) : null
            );
        else if (piece.Result is { } last)
            yield return MakeChunk(index, "", null, GetReason(Cut(last)));
    }

    internal override IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results)
    {
        if (Request.SendsUsage)
            yield return new(null, MakeAnswer([], CountTokens([.. results.Select(Cut)])));
        yield return StreamEvent.Done;
    }

    // A prompt is read by generating one token after it.
    private GenerationResult Cut(GenerationResult result) =>
        IsPromptOnly
            ? result with
            {
                Text = "",
                Tokens = [],
                LogProbabilities = result.LogProbabilities is null ? null : [],
                Finish = FinishReason.Length,
            }
            : result;

    private string FindEcho(int index) => echo is null ? "" : echo[index / Request.Choices];

    private object? ToForm(int index, IReadOnlyList<TokenLogProbability>? prompt, IReadOnlyList<TokenLogProbability>? answer)
    {
        var ids = Request.Prompts[index / Request.Choices];
        var offsets = _offsets[index] ??= new TokenOffsets(
            Tokenizer,
            Request.Options.MeasuresPrompt ? [] : [.. ids.TakeLast(8)],
            FindEcho(index)
        );
        return LogProbabilityForm.ToCompletion(prompt is null ? null : (ids[0], prompt), answer, Tokenizer, offsets);
    }

    private StreamEvent MakeChunk(int index, string text, object? logprobs, string? reason) =>
        new(null, MakeAnswer([MakeChoice(index, text, logprobs, reason)], null));

    private static object MakeChoice(int index, string text, object? logprobs, string? reason) =>
        new
        {
            index,
            text,
            logprobs,
            finish_reason = reason,
        };

    private object MakeAnswer(IReadOnlyList<object> choices, object? usage) =>
        new
        {
            id = Id,
            @object = "text_completion",
            created = Created,
            model = Model,
            seed = Seed,
            choices,
            usage,
        };
}
