using System.Diagnostics;
using LongLora.Documents.Workers;
using LongLora.Runtime;
using LongLora.Tests;

namespace LongLora.Documents.Tests.Workers;

/// <summary>Documents that are made to be harmful. Each is read, or refused with one plain message; nothing ends but its worker.</summary>
public sealed class HostileDocumentTests : IDisposable
{
    private readonly DocumentWorkers _workers = new(new DocumentWorkerOptions { MemoryBytes = 256 << 20, Time = TimeSpan.FromSeconds(3) });

    public void Dispose() => _workers.Dispose();

    [Theory]
    [MemberData(nameof(HostileDocuments.Names), MemberType = typeof(HostileDocuments))]
    public void Read_ends_soon_with_text_or_one_plain_message(string name)
    {
        using var stream = new MemoryStream(HostileDocuments.All[name]());
        var watch = Stopwatch.StartNew();
        string outcome;
        try
        {
            outcome = $"text of {DocumentText.Read(stream, name, _workers.Readers, 1 << 26, TestContext.Current.CancellationToken).Length}";
        }
        catch (DataException e)
        {
            outcome = e.Message;
            Assert.Contains(name, e.Message, StringComparison.Ordinal);
            Assert.InRange(e.Message.Length, 20, 700);
            Assert.DoesNotContain("reader failed", e.Message, StringComparison.Ordinal);
        }
        TestContext.Current.TestOutputHelper?.WriteLine($"{name}: {watch.Elapsed.TotalSeconds:F2} s, {outcome}");
        // Workers are limited in processor time. How long that takes depends on what else runs here, so this sees only what does not end.
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 300);
    }
}
