using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub;

/// <summary>What an answer of the Hub that is no success means, and what its reader can do.</summary>
internal static class HubErrors
{
    /// <summary>Throws if an answer is no success.</summary>
    /// <param name="response">The answer.</param>
    /// <param name="options">Server and token.</param>
    /// <param name="name">What was asked for.</param>
    /// <param name="file">The file that was asked for; null for the list of files.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="ConfigurationException">The user can change it: name, revision, file, token.</exception>
    /// <exception cref="CheckpointException">The server cannot do it now.</exception>
    public static Task RequireSuccessAsync(
        HttpResponseMessage response,
        PullOptions options,
        HubName name,
        string? file,
        CancellationToken cancellation
    )
    {
        cancellation.ThrowIfCancellationRequested();
        return response.IsSuccessStatusCode ? Task.CompletedTask : throw Explain(response, options, name, file);
    }

    /// <summary>How long the server asks to wait; null if it does not say.</summary>
    public static TimeSpan? ReadRetryAfter(HttpResponseMessage? response) =>
        response?.Headers.RetryAfter is not { } after ? null : after.Delta ?? after.Date - DateTimeOffset.UtcNow;

    private static LongLoraException Explain(HttpResponseMessage response, PullOptions options, HubName name, string? file)
    {
        var (status, code) = ((int)response.StatusCode, ReadHeader(response, "X-Error-Code"));
        var page = $"{options.Endpoint.AbsoluteUri.TrimEnd('/')}/{(name.IsDataset ? "datasets/" : "")}{name.Repository}";
        return code switch
        {
            "GatedRepo" when options.Token is null => Refuse(
                $"The {name.Kind} '{name.Repository}' is gated: its authors ask you to accept their terms. Open {page}, accept them, "
                    + "make an "
                    + "access token in your settings there, and set HF_TOKEN to it."
            ),
            "GatedRepo" => Refuse(
                $"The {name.Kind} '{name.Repository}' is gated, and the account of your token may not read it. Open {page} and accept the "
                    + "terms, or wait until the authors have; the token also needs the right to read gated repositories."
            ),
            "RevisionNotFound" => Refuse(
                $"The {name.Kind} '{name.Repository}' has no revision '{name.Revision ?? HubName.DefaultRevision}'. {page} lists its "
                    + "branches "
                    + "and tags; give one behind '@', or none."
            ),
            "EntryNotFound" => Refuse($"The {name.Kind} '{name.Repository}' has no file '{file}'. {page}/tree/main lists its files."),
            "RepoNotFound" => ExplainNotFound(options, name),
            _ when status == 401 && options.Token is not null => Refuse(
                $"{options.Endpoint.Host} does not accept your access token. Set HF_TOKEN to a valid one, or remove it and the file that a "
                    + "login wrote; public models need none."
            ),
            _ when status is 401 or 404 => ExplainNotFound(options, name),
            _ when status == 403 => Refuse(
                $"{options.Endpoint.Host} forbids access to the {name.Kind} '{name.Repository}'{Quote(response)}. Look at {page} in a "
                    + "browser, "
                    + $"and {(options.Token is null ? "set HF_TOKEN to an access token" : "at the rights of your token")}."
            ),
            _ when status == 429 => new CheckpointException(
                $"{options.Endpoint.Host} has had too many requests from you. Try again{DescribeWait(response)}"
                    + $"{(options.Token is null ? "; with HF_TOKEN set, more are allowed" : "")}. What has come is kept."
            ),
            _ => new CheckpointException(
                $"Cannot get {(file is null ? "" : file + " of ")}'{name}' because {response.RequestMessage?.RequestUri?.Host} answers "
                    + $"{status} {response.ReasonPhrase}{Quote(response)}. Nothing that is in the cache was changed, and what has come "
                    + "is kept. "
                    + "Try again later."
            ),
        };
    }

    private static ConfigurationException ExplainNotFound(PullOptions options, HubName name) =>
        Refuse(
            $"{options.Endpoint.Host} has no {name.Kind} '{name.Repository}' that you may see. Check the name"
                + (
                    options.Token is null
                        ? "; if it is private, set HF_TOKEN to an access token"
                        : "; if it is private, check that the account of your token may read it"
                )
                + (name.IsDataset ? "." : ". For a data set add --dataset.")
        );

    private static ConfigurationException Refuse(string message) => new(message);

    private static string DescribeWait(HttpResponseMessage response) =>
        ReadRetryAfter(response) is { } wait && wait > TimeSpan.Zero ? $" in {Math.Ceiling(wait.TotalMinutes):N0} min" : " later";

    private static string Quote(HttpResponseMessage response) =>
        ReadHeader(response, "X-Error-Message") is { Length: > 0 } said
            ? $" ('{new string([.. said.Where(c => !char.IsControl(c)).Take(120)])}')"
            : "";

    private static string? ReadHeader(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out var values) ? values.First() : null;
}
