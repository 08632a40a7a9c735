using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using LongLora.Tests;

namespace LongLora.Server.Tests;

/// <summary>
/// Documents that are made to be harmful, sent to a server that runs. It answers the next request soon, and its memory does not grow.
/// </summary>
/// <remarks>The variable LONGLORA_HOSTILE_UPLOADS gives another number of documents; then the output gives the figures.</remarks>
public class HostileUploadTests
{
    // Those that end with their first limit; the others take seconds of processor time each.
    private static readonly string[] s_few =
    [
        "form-calls-itself.pdf",
        "two-forms-call-each-other.pdf",
        "deep-array-in-content.pdf",
        "runs-100k.docx",
        "footnote-fan.docx",
        "paragraphs-10m.docx",
        "div-100k.html",
        "endless.parquet",
    ];

    private static int? Wanted =>
        Environment.GetEnvironmentVariable("LONGLORA_HOSTILE_UPLOADS") is { } text ? int.Parse(text, CultureInfo.InvariantCulture) : null;

    // Each document as it is, and then with damages.
    private static IEnumerable<(string Name, byte[] Bytes)> Documents =>
        Wanted is { } count
            ? Enumerable
                .Range(0, count)
                .Select(i =>
                {
                    var (name, make) = HostileDocuments.All.ElementAt(i % HostileDocuments.All.Count);
                    return (name, i < HostileDocuments.All.Count ? make() : new Mutation(i).Bytes(make()));
                })
            : s_few.Select(name => (name, HostileDocuments.All[name]()));

    private static async Task<HttpStatusCode> Send(HttpClient client, string name, byte[] bytes, CancellationToken cancellation)
    {
        using var content = new ByteArrayContent(bytes);
        content.Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");
        using var answer = await client.PostAsync($"/documents?name={name}", content, cancellation);
        var said = await answer.Content.ReadAsStringAsync(cancellation);
        if (answer.StatusCode != HttpStatusCode.OK)
            Assert.Contains("unreadable_document", said, StringComparison.Ordinal);
        return answer.StatusCode;
    }

    [Fact]
    public async Task Post_harmful_documents_leave_the_server_as_it_was()
    {
        await using var server = await RunningServer.Start();
        var cancellation = TestContext.Current.CancellationToken;
        await Send(server.Client, "first.html", "<p>words"u8.ToArray(), cancellation);
        var documents = Documents.ToList();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        var before = Environment.WorkingSet >> 20;
        var (read, refused, slowest, memory) = (0, 0, TimeSpan.Zero, before);
        var watch = Stopwatch.StartNew();
        foreach (var (name, bytes) in documents)
        {
            var status = await Send(server.Client, name, bytes, cancellation);
            Assert.True(status is HttpStatusCode.OK or HttpStatusCode.BadRequest, $"{name}: {status}");
            (read, refused) = status == HttpStatusCode.OK ? (read + 1, refused) : (read, refused + 1);
            var next = Stopwatch.StartNew();
            using var health = await server.Client.GetAsync("/health", cancellation);
            Assert.Equal(HttpStatusCode.OK, health.StatusCode);
            slowest = next.Elapsed > slowest ? next.Elapsed : slowest;
            memory = Math.Max(memory, Environment.WorkingSet >> 20);
        }
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"HOSTILE UPLOADS: {read + refused} documents in {watch.Elapsed.TotalSeconds:F0} s, {read} read, "
                    + $"{refused} refused; the next "
                    + $"request took at most {slowest.TotalSeconds:F2} s; memory {before} MiB before, at most {memory} MiB, "
                    + $"{Environment.WorkingSet >> 20} MiB after"
            )
        );
        Assert.InRange(slowest.TotalSeconds, 0, 60); // sees only what hangs; times are in docs/results
        Assert.InRange(memory - before, 0, 600);
    }

    // For scripts/reliability/hostile-uploads.sh, whose server is a process of its own.
    [Fact(Explicit = true)]
    public void Write_the_documents_to_a_folder()
    {
        var folder = Environment.GetEnvironmentVariable("LONGLORA_HOSTILE_FOLDER");
        Assert.SkipWhen(folder is null, "LONGLORA_HOSTILE_FOLDER names no folder");
        Directory.CreateDirectory(folder);
        foreach (var (number, (name, bytes)) in Documents.Index())
            File.WriteAllBytes(Path.Combine(folder, $"{number:D4}-{name}"), bytes);
        Assert.NotEmpty(Directory.GetFiles(folder));
    }

    [Fact]
    public async Task Post_document_whose_client_leaves_is_not_read_on()
    {
        await using var server = await RunningServer.Start();
        var cancellation = TestContext.Current.CancellationToken;
        using var leaves = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        leaves.CancelAfter(TimeSpan.FromSeconds(2));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Send(server.Client, "forms-doubling-30.pdf", HostileDocuments.All["forms-doubling-30.pdf"](), leaves.Token)
        );
        // Its place is free again, although the document alone would take longer.
        for (var i = 0; i < 4; i++)
            Assert.Equal(HttpStatusCode.OK, await Send(server.Client, "a.html", "<p>words"u8.ToArray(), cancellation));
        for (var left = 100; left > 0 && CountWorkers() > 4; left--)
            await Task.Delay(100, cancellation);
        Assert.InRange(CountWorkers(), 0, 4);
    }

    // Workers of this process that use the processor would show in their number: each upload that is read has one.
    private static int CountWorkers() =>
        Process.GetProcesses().Count(p => p.ProcessName.StartsWith("LongLora.Server", StringComparison.Ordinal)) - 1;
}
