using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;

namespace LongLora.Server;

/// <summary>
/// Ends what is still being answered when the time of a stopping server is over. The host gives requests some seconds more, so that each
/// client is told why its answer ended before its connection is closed.
/// </summary>
internal sealed class StopDeadline : IDisposable
{
    /// <summary>Time between the end of answers and that of connections.</summary>
    internal static readonly TimeSpan Farewell = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _over = new();
    private readonly CancellationTokenRegistration _stopping;

    /// <param name="options">Gives the time.</param>
    /// <param name="lifetime">Tells when the server begins to stop.</param>
    internal StopDeadline(ServerOptions options, IHostApplicationLifetime lifetime) =>
        _stopping = lifetime.ApplicationStopping.Register(() => _over.CancelAfter(options.ShutdownTime));

    /// <summary>
    /// A middleware: within it, <see cref="HttpContext.RequestAborted"/> is set when the client has left and when the time is over.
    /// </summary>
    internal async Task Apply(HttpContext context, RequestDelegate next)
    {
        var client = context.RequestAborted;
        using var end = CancellationTokenSource.CreateLinkedTokenSource(client, _over.Token);
        context.Features.Set(new Client(client));
        context.RequestAborted = end.Token;
        try
        {
            await next(context);
        }
        finally
        {
            context.RequestAborted = client;
        }
    }

    /// <summary>Whether the client of a request is still there, whatever the time.</summary>
    internal static bool HasClient(HttpContext context) => !ClientOf(context).IsCancellationRequested;

    /// <summary>Lets the rest of a request, such as its error, be sent after the time.</summary>
    internal static void Lift(HttpContext context) => context.RequestAborted = ClientOf(context);

    public void Dispose()
    {
        _stopping.Dispose();
        _over.Dispose();
    }

    private static CancellationToken ClientOf(HttpContext context) => context.Features.Get<Client>()?.Left ?? context.RequestAborted;

    private sealed record Client(CancellationToken Left);
}
