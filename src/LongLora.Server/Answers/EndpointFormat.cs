using System.Text.Json;
using LongLora.Generation;
using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>The JSON form in which an endpoint sends answers: whole, or as the events of a stream. One class per endpoint.</summary>
/// <param name="request">The request.</param>
/// <param name="prefix">Beginning of the identifier, such as <c>chatcmpl-</c>.</param>
internal abstract class EndpointFormat(GenerationRequest request, string prefix)
{
    internal static JsonSerializerOptions Json { get; } =
        new()
        {
            PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        };

    protected GenerationRequest Request => request;

    protected string Id { get; } = prefix + Guid.NewGuid().ToString("N");

    /// <summary>Seconds since 1970.</summary>
    protected long Created { get; } = DateTimeOffset.UtcNow.ToUnixTimeSeconds();

    /// <summary>Name of the model.</summary>
    protected string Model => request.Model.Name;

    protected long Seed => request.Options.Seed!.Value;

    protected ITokenizer Tokenizer => request.Model.Tokenizer;

    /// <summary>Answers that are sent as one.</summary>
    internal abstract object ToWhole(IReadOnlyList<GenerationResult> results);

    /// <summary>Events that are sent before anything is generated.</summary>
    internal abstract IEnumerable<StreamEvent> Begin();

    /// <summary>Events for a piece of an answer, which may be its last.</summary>
    /// <param name="index">Number of the answer.</param>
    /// <param name="piece">The piece.</param>
    internal abstract IEnumerable<StreamEvent> Continue(int index, AnswerPiece piece);

    /// <summary>Events after the last answer.</summary>
    internal abstract IEnumerable<StreamEvent> End(IReadOnlyList<GenerationResult> results);

    /// <summary>The event for an error after the stream has begun.</summary>
    internal virtual StreamEvent ToError(ApiException error) => new(null, error.Body);

    /// <summary>Why an answer ended, in OpenAI's words.</summary>
    protected static string GetReason(GenerationResult result) => result.Finish == FinishReason.Stop ? "stop" : "length";

    /// <summary>The numbers of tokens. A prompt with several answers counts once.</summary>
    protected object CountTokens(IReadOnlyList<GenerationResult> results)
    {
        var prompts = results.Where((_, i) => i % request.Choices == 0).ToList();
        int prompt = prompts.Sum(r => r.PromptTokens),
            written = results.Sum(r => r.Tokens.Count);
        return new
        {
            prompt_tokens = prompt,
            completion_tokens = written,
            total_tokens = prompt + written,
            prompt_tokens_details = new { cached_tokens = prompts.Sum(r => r.CachedTokens) },
        };
    }
}
