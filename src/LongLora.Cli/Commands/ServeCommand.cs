using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Server;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora serve</c>: a model behind OpenAI's API, with a page to ask about documents.</summary>
internal static class ServeCommand
{
    internal static Command Create(CliContext context)
    {
        var standard = new ServerOptions();
        var source = new ModelArguments();
        var template = ChatCommand.TemplateOption();
        var host = new Option<string>("--host")
        {
            Description = $"address to listen on; 0.0.0.0 for every one [default: {standard.Host}]",
            HelpName = "ADDRESS",
            DefaultValueFactory = _ => standard.Host,
        };
        var port = new Option<int>("--port")
        {
            Description = $"port to listen on; 0 for any that is free [default: {standard.Port}]",
            HelpName = "N",
            DefaultValueFactory = _ => standard.Port,
        };
        var key = new Option<string>("--api-key")
        {
            Description = "what clients must send as Authorization: Bearer; better in the variable LONGLORA_API_KEY",
            HelpName = "KEY",
        };
        var origins = new Option<string[]>("--allow-origin")
        {
            Description = "web pages of other origins that may call the API",
            HelpName = "URL",
            AllowMultipleArgumentsPerToken = true,
        };
        var limit = new Option<int?>("--limit-tokens")
        {
            Description = "most tokens that a request may ask for [default: no limit]",
            HelpName = "N",
        };
        var body = new Option<long>("--limit-body")
        {
            Description = $"most MiB of a request, documents included [default: {standard.MaxBodyBytes >> 20}]",
            HelpName = "MIB",
            DefaultValueFactory = _ => standard.MaxBodyBytes >> 20,
        };
        var queue = new Option<int>("--queue")
        {
            Description = $"requests that may wait; further ones are sent away [default: {standard.Queue}]",
            HelpName = "N",
            DefaultValueFactory = _ => standard.Queue,
        };
        var kept = new Option<int>("--kept-conversations")
        {
            Description = "conversations whose reading is kept in memory [default: 4]",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        };
        var sampling = new SamplingArguments(standard.Defaults);
        var cache = new CacheArguments();
        var command = new Verb(
            "serve",
            "Serve a model to OpenAI clients, with a page to ask about documents.",
            "longlora serve --model merged",
            "longlora serve --model Llama-2-7b-chat --adapter run/adapter --port 9000"
        )
        {
            template,
            host,
            port,
            key,
            origins,
            limit,
            body,
            queue,
            kept,
        };
        source.AddTo(command);
        sampling.AddTo(command);
        cache.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = new ServerOptions
            {
                Host = parsed.GetValue(host)!,
                Port = parsed.GetValue(port),
                ApiKey = parsed.GetValue(key)
                    ?? (Environment.GetEnvironmentVariable("LONGLORA_API_KEY") is { Length: > 0 } secret ? secret : null),
                AllowedOrigins = parsed.GetValue(origins) ?? [],
                Defaults = sampling.Read(parsed),
                MaxTokens = parsed.GetValue(limit),
                MaxBodyBytes = parsed.GetValue(body) << 20,
                Queue = parsed.GetValue(queue),
            };
            options.Validate();
            using var model = cache.Open(
                context,
                parsed,
                source.Read(parsed) with
                {
                    Template = parsed.GetValue(template),
                    KeptConversations = parsed.GetValue(kept),
                }
            );
            Serve(context, options, model).GetAwaiter().GetResult();
            return ExitCode.Done;
        });
        return command;
    }

    private static async Task Serve(CliContext context, ServerOptions options, ChatModel model)
    {
        await using var app = ChatServer.Create(options, model);
        try
        {
            await app.StartAsync(context.Cancellation);
        }
        catch (IOException e)
        {
            throw new ConfigurationException(
                $"Cannot listen on {options.Host}:{options.Port}: {e.GetBaseException().Message}. Choose another --port, or 0 for any "
                    + $"that is free.",
                e
            );
        }
        var address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        context.Output.WriteLine(
            $"{model.Name}, {model.Context:N0} tokens of "
                + $"context{(model.HasTemplate ? "" : "; no chat template, so /v1/completions alone (choose one with --template)")}"
        );
        context.Output.WriteLine($"Page:   {address}/");
        context.Output.WriteLine($"OpenAI: {address}/v1{(options.ApiKey is null ? "" : ", with the API key")}");
        context.Output.WriteLine("Ctrl-C ends it.");
        context.Output.Flush();
        context.SayStopping = () => context.Error.WriteLine("Ending; running answers have a few seconds more.");
        using var stopping = context.Cancellation.Register(app.Lifetime.StopApplication);
        await app.WaitForShutdownAsync(CancellationToken.None);
    }
}
