using LongLora.Generation;

namespace LongLora.Server;

/// <summary>Answers of <c>/v1/completions</c>.</summary>
/// <param name="request">The request.</param>
/// <param name="echo">Texts of the prompts, which begin the answers; null for answers alone.</param>
internal sealed class CompletionFormat(GenerationRequest request, IReadOnlyList<string>? echo) : EndpointFormat(request, "cmpl-")
{
    private readonly int[] _offsets = new int[request.Count]; // characters of each answer whose log-probabilities were sent

    internal override object ToWhole(IReadOnlyList<GenerationResult> results) =>
        MakeAnswer(
            results
                .Select(
                    (result, index) =>
                        MakeChoice(index, FindEcho(index) + result.Text, ToForm(index, result.LogProbabilities), GetReason(result))
                )
                .ToList(),
            CountTokens(results)
        );

    internal override IEnumerable<StreamEvent> Begin() =>
        echo is null ? [] : Enumerable.Range(0, Request.Count).Select(index => MakeChunk(index, FindEcho(index), null, null));

    internal override IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece) =>
        [MakeChunk(index, piece.Text, ToForm(index, piece.LogProbabilities), piece.Result is { } result ? GetReason(result) : null)];

    internal override IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results)
    {
        if (Request.SendsUsage)
            yield return new(null, MakeAnswer([], CountTokens(results)));
        yield return StreamEvent.Done;
    }

    private string FindEcho(int index) => echo is null ? "" : echo[index / Request.Choices];

    private object? ToForm(int index, IReadOnlyList<TokenLogProbability>? tokens) =>
        LogProbabilityForm.ToCompletion(tokens, Tokenizer, ref _offsets[index]);

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
