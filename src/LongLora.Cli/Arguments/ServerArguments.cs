using System.CommandLine;
using LongLora.Generation;
using LongLora.Server;

namespace LongLora.Cli.Arguments;

/// <summary>The options that say how a server is reached and what it allows.</summary>
internal sealed class ServerArguments
{
    private static readonly ServerOptions s_standard = new();

    private readonly Option<string> _host = new("--host")
    {
        Description = $"IP address to listen on; * or 0.0.0.0 for every one [default: {s_standard.Host}]",
        HelpName = "ADDRESS",
        DefaultValueFactory = _ => s_standard.Host,
    };
    private readonly Option<int> _port = new("--port")
    {
        Description = $"port to listen on; 0 for any that is free [default: {s_standard.Port}]",
        HelpName = "N",
        DefaultValueFactory = _ => s_standard.Port,
    };
    private readonly Option<string> _key = new("--api-key")
    {
        Description = "what clients must send as Authorization: Bearer; better in the variable LONGLORA_API_KEY",
        HelpName = "KEY",
    };
    private readonly Option<string> _certificate = new("--tls-cert")
    {
        Description = "certificate for https: PEM with its chain, or .pfx (password in LONGLORA_TLS_PASSWORD)",
        HelpName = "FILE",
    };
    private readonly Option<string> _certificateKey = new("--tls-key")
    {
        Description = "PEM file with the key of --tls-cert",
        HelpName = "FILE",
    };
    private readonly Option<string[]> _origins = new("--allow-origin")
    {
        Description = "web pages of other origins that may call the API; * for all",
        HelpName = "URL",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string[]> _hosts = new("--allow-host")
    {
        Description = "names of a reverse proxy on this machine, and of the machine itself if there is no key",
        HelpName = "NAME",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<int?> _tokens = new("--limit-tokens")
    {
        Description = "most tokens that a request may ask for [default: no limit]",
        HelpName = "N",
    };
    private readonly Option<long> _body = new("--limit-body")
    {
        Description = $"most MiB of a request, documents included [default: {s_standard.MaxBodyBytes >> 20}]",
        HelpName = "MIB",
        DefaultValueFactory = _ => s_standard.MaxBodyBytes >> 20,
    };
    private readonly Option<int> _queue = new("--queue")
    {
        Description = $"requests that may wait; further ones are refused [default: {s_standard.Queue}]",
        HelpName = "N",
        DefaultValueFactory = _ => s_standard.Queue,
    };

    internal void AddTo(Command command)
    {
        Option[] all = [_host, _port, _key, _certificate, _certificateKey, _origins, _hosts, _tokens, _body, _queue];
        foreach (var option in all)
            command.Options.Add(option);
    }

    internal ServerOptions Read(ParseResult parsed, GenerationOptions defaults) =>
        new()
        {
            Host = parsed.GetValue(_host)!,
            Port = parsed.GetValue(_port),
            ApiKey = parsed.GetValue(_key) ?? FindSecret("LONGLORA_API_KEY"),
            CertificateFile = parsed.GetValue(_certificate),
            CertificateKeyFile = parsed.GetValue(_certificateKey),
            CertificatePassword = parsed.GetValue(_certificate) is null ? null : FindSecret("LONGLORA_TLS_PASSWORD"),
            AllowedOrigins = parsed.GetValue(_origins) ?? [],
            AllowedHosts = parsed.GetValue(_hosts) ?? [],
            Defaults = defaults,
            MaxTokens = parsed.GetValue(_tokens),
            MaxBodyBytes = Math.Min(parsed.GetValue(_body), long.MaxValue >> 20) << 20,
            Queue = parsed.GetValue(_queue),
        };

    private static string? FindSecret(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } secret ? secret : null;
}
