using System.Net;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>How models are served.</summary>
public sealed record ServerOptions
{
    /// <summary>
    /// Address to listen on: an IP address, <c>localhost</c>, or <c>*</c> for all. Default 127.0.0.1: this machine only.
    /// </summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>Port to listen on; 0 for any that is free. Default 8080.</summary>
    public int Port { get; init; } = 8080;

    /// <summary>
    /// File with the TLS certificate: PEM with the chain after it, or PKCS #12 (.pfx, .p12). Null for plain HTTP. Default null.
    /// </summary>
    public string? CertificateFile { get; init; }

    /// <summary>
    /// PEM file with the key of <see cref="CertificateFile"/>; null if the certificate's file contains the key. Default null.
    /// </summary>
    public string? CertificateKeyFile { get; init; }

    /// <summary>Password of the key; null for none. Default null.</summary>
    public string? CertificatePassword { get; init; }

    /// <summary>What clients must send as <c>Authorization: Bearer</c>; null for nothing. Default null.</summary>
    public string? ApiKey { get; init; }

    /// <summary>
    /// Web pages of other origins that may call the API, such as <c>https://chat.example</c>; <c>*</c> for all. Default none.
    /// </summary>
    public IReadOnlyList<string> AllowedOrigins { get; init; } = [];

    /// <summary>
    /// Names under which a reverse proxy passes requests to a server that listens on this machine only, such as <c>chat.example</c>, and
    /// further names of the machine for a server that others reach and that has no key. Default none.
    /// </summary>
    public IReadOnlyList<string> AllowedHosts { get; init; } = [];

    /// <summary>
    /// How answers are generated where a request does not say, including their <see cref="GenerationOptions.MaxTokens"/>. Default: greedy,
    /// at most 512 tokens.
    /// </summary>
    public GenerationOptions Defaults { get; init; } = new() { MaxTokens = 512 };

    /// <summary>Most tokens of an answer that a request may ask for; null for what the context leaves. Default null.</summary>
    public int? MaxTokens { get; init; }

    /// <summary>Most bytes of a request, unpacked, including documents. Default 32 MiB.</summary>
    public long MaxBodyBytes { get; init; } = 32 << 20;

    /// <summary>Requests that may wait while others are answered; further ones are refused. Default 64.</summary>
    public int Queue { get; init; } = 64;

    /// <summary>Time that running answers have when the server stops. Default 10 s.</summary>
    public TimeSpan ShutdownTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Checks all options.</summary>
    /// <exception cref="ConfigurationException">Says what is wrong.</exception>
    public void Validate()
    {
        Defaults.Validate();
        if (Host is not ("localhost" or "*") && !IPAddress.TryParse(Host, out _))
            throw new ConfigurationException($"host is '{Host}'; it must be an IP address, localhost, or * for all addresses.");
        if (Port is < 0 or > 65535)
            throw new ConfigurationException($"port is {Port}; it must be from 0 to 65535.");
        if (Port == 0 && Host == "localhost")
            throw new ConfigurationException("port is 0 and host is localhost; use 127.0.0.1 for any port that is free.");
        if (MaxTokens < 1)
            throw new ConfigurationException($"The limit of tokens is {MaxTokens}; it must be at least 1.");
        if (MaxTokens < Defaults.MinTokens)
            throw new ConfigurationException(
                $"Cannot give at least {Defaults.MinTokens:N0} tokens because the limit of tokens is {MaxTokens:N0}. Raise it, or lower "
                    + "the least tokens."
            );
        if (MaxBodyBytes < 1)
            throw new ConfigurationException($"The limit of a body is {MaxBodyBytes} bytes; it must be at least 1.");
        if (MaxBodyBytes > Array.MaxLength)
            throw new ConfigurationException($"The limit of a body is {MaxBodyBytes:N0} bytes; it must be at most {Array.MaxLength:N0}.");
        if (Queue < 0)
            throw new ConfigurationException($"queue is {Queue}; it must be at least 0.");
        if (AllowedOrigins.FirstOrDefault(origin => origin != CrossOrigin.Any && !CrossOrigin.IsOrigin(origin)) is { } wrong)
            throw new ConfigurationException(
                $"The allowed origin is '{wrong}'; it must be as a browser sends it, with scheme and without a path, such as "
                    + "https://chat.example or http://localhost:3000; or * for all."
            );
        if (ApiKey is { Length: 0 })
            throw new ConfigurationException("The API key is empty; leave it out for none.");
        if (CertificateFile is null && (CertificateKeyFile ?? CertificatePassword) is not null)
            throw new ConfigurationException("There is a key or a password for TLS, but no certificate. Give both, or neither.");
    }

    /// <summary>Whether only programs on this machine can connect.</summary>
    internal bool IsLocal => Host is "localhost" || (IPAddress.TryParse(Host, out var address) && IPAddress.IsLoopback(address));

    /// <summary>The address to listen on.</summary>
    internal string Url =>
        $"{(CertificateFile is null ? "http" : "https")}://{(Host.Contains(':') && Host[0] != '[' ? $"[{Host}]" : Host)}:{Port}";
}
