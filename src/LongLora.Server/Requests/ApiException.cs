using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>A request that is answered with an error, in the form of OpenAI's API.</summary>
internal sealed class ApiException(int status, string message, string? parameter = null, string? code = null)
    : Exception(MessageText.Bound(message))
{
    private const int LongestName = 200;

    internal int Status => status;

    internal ApiErrorBody Body =>
        new(
            new(
                Message,
                status switch
                {
                    401 or 403 => "authentication_error",
                    429 => "rate_limit_error",
                    >= 500 => "server_error",
                    _ => "invalid_request_error",
                },
                parameter is null ? null : MessageText.Bound(parameter, LongestName),
                code
            )
        );
}

/// <summary>The form of an error.</summary>
internal sealed record ApiErrorBody(ApiError Error);

/// <summary>What an error says.</summary>
internal sealed record ApiError(string Message, string Type, string? Param, string? Code);
