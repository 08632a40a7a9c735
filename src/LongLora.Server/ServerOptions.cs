using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>How a model is served.</summary>
public sealed record ServerOptions
{
    /// <summary>Address to listen on. Default 127.0.0.1: this machine alone.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>Port to listen on; 0 for any that is free. Default 8080.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>What clients must send as <c>Authorization: Bearer</c>; null for nothing. Default null.</summary>
    public string? ApiKey { get; init; }

    /// <summary>Web pages of other origins that may call the API, such as <c>https://chat.example</c>. Default none.</summary>
    public IReadOnlyList<string> AllowedOrigins { get; init; } = [];

    /// <summary>
    /// How answers are generated where a request does not say; its <see cref="GenerationOptions.MaxTokens"/> too. Default: greedy, at
    /// most 512 tokens.
    /// </summary>
    public GenerationOptions Defaults { get; init; } = new() { MaxTokens = 512 };

    /// <summary>Most tokens of an answer that a request may ask for. Default: what the context leaves.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Most bytes of a request, documents included. Default 32 MiB.</summary>
    public long MaxBodyBytes { get; init; } = 32 << 20;

    /// <summary>Requests that may wait while one is answered; further ones are sent away. Default 64.</summary>
    public int Queue { get; init; } = 64;

    /// <summary>Time that running answers have when the server stops. Default 10 s.</summary>
    public TimeSpan ShutdownTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Checks all options.</summary>
    /// <exception cref="ConfigurationException">Says what is wrong.</exception>
    public void Validate()
    {
        Defaults.Validate();
        if (Port is < 0 or > 65535)
            throw new ConfigurationException($"port is {Port}; it must be between 0 and 65535.");
        if (MaxTokens < 1 || MaxBodyBytes < 1 || Queue < 0)
            throw new ConfigurationException(
                $"max-tokens is {MaxTokens}, max-body {MaxBodyBytes}, queue {Queue}; the first two must be at least 1, the queue at "
                    + $"least 0."
            );
        if (ApiKey is { Length: 0 })
            throw new ConfigurationException("The API key is empty; leave it out for none.");
    }

    /// <summary>Whether only programs on this machine can connect.</summary>
    internal bool IsLocal =>
        Host is "localhost" || (System.Net.IPAddress.TryParse(Host, out var address) && System.Net.IPAddress.IsLoopback(address));
}
