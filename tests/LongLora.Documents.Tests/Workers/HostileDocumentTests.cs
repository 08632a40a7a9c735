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

    // PdfPig counts from the first code of a range to the last: without end, or through all numbers of four bytes.
    [Theory]
    [InlineData("code-range-backwards.pdf")]
    [InlineData("code-range-huge.pdf")]
    [InlineData("packed-code-range-backwards.pdf")]
    [InlineData("packed-code-range-huge.pdf")]
    public void Ranges_of_codes_cost_nothing(string name)
    {
        using var stream = new MemoryStream(HostileDocuments.All[name]());
        var before = GC.GetAllocatedBytesForCurrentThread();
        var outcome = Record.Exception(() =>
            DocumentText.Read(stream, name, DocumentFormats.All, 1 << 26, TestContext.Current.CancellationToken)
        );
        Assert.True(outcome is null or DataException, $"{outcome}");
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 32 << 20);
    }

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
