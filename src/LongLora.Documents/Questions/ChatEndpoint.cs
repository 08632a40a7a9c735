using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Documents.Questions;

/// <summary>
/// Asks an OpenAI-compatible service for chat completions. Requests with a temporary failure (no connection, time-outs, 408, 409, 429, 5xx)
/// are repeated after the time that the service gives, or after a growing time. A refusal is reported at once in the words of the service.
/// </summary>
internal sealed class ChatEndpoint : IDisposable
{
    private static readonly TimeSpan s_longestDelay = TimeSpan.FromMinutes(1);

    private readonly QuestionOptions _options;
    private readonly Uri _address;
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromMinutes(10) };

    public ChatEndpoint(QuestionOptions options)
    {
        _options = options;
        _address = new Uri(options.Endpoint!.AbsoluteUri.TrimEnd('/') + "/chat/completions");
        if (options.ApiKey is { } key)
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
    }

    /// <summary>The answer to a prompt.</summary>
    /// <param name="prompt">The prompt.</param>
    /// <param name="accept">Converts an answer, or returns null if its format is wrong; then the model is asked again.</param>
    /// <param name="cancellation">Stops waiting.</param>
    /// <returns>The result of <paramref name="accept"/>; null if no answer had the right format.</returns>
    /// <exception cref="ConfigurationException">The service refuses the request or cannot be reached.</exception>
    public async Task<T?> AskAsync<T>(QuestionPrompt prompt, Func<string, T?> accept, CancellationToken cancellation)
        where T : class
    {
        for (var attempt = 0; ; attempt++)
        {
            var (text, failure, wait) = await TryAsync(prompt, cancellation).ConfigureAwait(false);
            if (text is not null && accept(text) is { } answer)
                return answer;
            if (attempt >= _options.Retries)
                return failure is null
                    ? null
                    : throw new ConfigurationException(
                        $"{_address}: {failure} It was asked {attempt + 1} times. The answers so far are saved. Run the same command again "
                            + $"to continue."
                    );
            var delay = failure is null ? TimeSpan.Zero : wait ?? _options.FirstDelay * Math.Pow(2, attempt);
            await Task.Delay(delay < s_longestDelay ? delay : s_longestDelay, cancellation).ConfigureAwait(false);
        }
    }

    // An answer, or why there is none yet and how long to wait.
    private async Task<(string? Text, string? Failure, TimeSpan? Wait)> TryAsync(QuestionPrompt prompt, CancellationToken cancellation)
    {
        try
        {
            using var content = new StringContent(MakeBody(prompt, _options), Encoding.UTF8, "application/json");
            using var response = await _http.PostAsync(_address, content, cancellation).ConfigureAwait(false);
            var text = await response.Content.ReadAsStringAsync(cancellation).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
                return (FindAnswer(text), null, null);
            var said = $"the service says {(int)response.StatusCode} {response.ReasonPhrase}: {Shorten(text)}";
            var code = response.StatusCode;
            if (code is HttpStatusCode.RequestTimeout or HttpStatusCode.Conflict or HttpStatusCode.TooManyRequests || (int)code >= 500)
                return (null, said, ReadWait(response.Headers.RetryAfter));
            throw new ConfigurationException($"{_address}: {said} {Advise(code)}");
        }
        catch (HttpRequestException e)
        {
            return (null, $"cannot reach the service: {e.Message}.", null);
        }
        catch (TaskCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return (null, $"the service did not answer within {_http.Timeout.TotalMinutes:F0} minutes.", null);
        }
    }

    /// <summary>The request as JSON, in the format of the service and of its batch files.</summary>
    public static string MakeBody(QuestionPrompt prompt, QuestionOptions options) =>
        JsonSerializer.Serialize(MakeBodyObject(prompt, options), QuestionBuilder.Json);

    public static object MakeBodyObject(QuestionPrompt prompt, QuestionOptions options) =>
        new
        {
            model = options.Model,
            messages = new[] { new { role = "system", content = QuestionPrompt.System }, new { role = "user", content = prompt.User } },
            temperature = options.Temperature,
            max_tokens = options.MaxTokens,
        };

    /// <summary>The text of the first choice of a completion; null if there is none.</summary>
    public static string? FindAnswer(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return FindAnswer(document.RootElement);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    public static string? FindAnswer(JsonElement completion) =>
        completion.ValueKind == JsonValueKind.Object
        && completion.TryGetProperty("choices", out var choices)
        && choices.ValueKind == JsonValueKind.Array
        && choices.GetArrayLength() > 0
        && choices[0].TryGetProperty("message", out var message)
        && message.ValueKind == JsonValueKind.Object
        && message.TryGetProperty("content", out var content)
        && content.ValueKind == JsonValueKind.String
            ? content.GetString()
            : null;

    private static TimeSpan? ReadWait(RetryConditionHeaderValue? after) =>
        after?.Delta ?? (after?.Date is { } date && date > DateTimeOffset.UtcNow ? date - DateTimeOffset.UtcNow : null);

    private static string Advise(HttpStatusCode code) =>
        code switch
        {
            HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => "Check the key in the variable that --api-key-variable names.",
            HttpStatusCode.NotFound => "Check the address, which usually ends in /v1, and the name of the model.",
            _ => "The text may be too long for the model. Try a smaller --chunk.",
        };

    private static string Shorten(string text) =>
        string.Create(CultureInfo.InvariantCulture, $"{(text.Length > 300 ? text[..300] + "..." : text).ReplaceLineEndings(" ").Trim()}.");

    public void Dispose() => _http.Dispose();
}
