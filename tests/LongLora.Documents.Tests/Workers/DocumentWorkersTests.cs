using System.Text;
using LongLora.Data;
using LongLora.Documents.Workers;
using LongLora.Runtime;

namespace LongLora.Documents.Tests.Workers;

public sealed class DocumentWorkersTests : IDisposable
{
    private readonly DocumentWorkers _workers = new(new DocumentWorkerOptions { Kept = 1 });

    public void Dispose() => _workers.Dispose();

    private IDocumentReader Reader(string extension) => _workers.Readers.Single(r => r.Extensions.Contains(extension));

    private static List<(string Text, string Origin)> ReadAll(IDocumentReader reader, Stream stream, string file) =>
        [.. reader.Read(stream, file).Select(d => (d.Text.ReadToEnd(), d.Origin))];

    private static string Material(string name) => Path.Combine(AppContext.BaseDirectory, "Material", name);

    [Theory]
    [InlineData("two-columns.pdf")]
    [InlineData("arabic.pdf")]
    [InlineData("pandoc.docx")]
    public void Read_gives_what_the_reader_gives_in_this_process(string name)
    {
        var here = DocumentFormats.All.Single(r => r.Extensions.Contains(Path.GetExtension(name)));
        using var first = File.OpenRead(Material(name));
        using var second = File.OpenRead(Material(name));
        Assert.Equal(ReadAll(here, first, name), ReadAll(Reader(Path.GetExtension(name)), second, name));
    }

    [Fact]
    public void Read_texts_that_are_no_valid_unicode_arrive_unchanged()
    {
        using var stream = new MemoryStream("<p>a&#xd800;b \0 é 😀</p>"u8.ToArray());
        using var again = new MemoryStream(stream.ToArray());
        Assert.Equal(ReadAll(new HtmlReader(), stream, "a\ud800.html"), ReadAll(Reader(".html"), again, "a\ud800.html"));
    }

    [Fact]
    public void Read_many_documents_and_records_of_a_stream_that_cannot_seek()
    {
        var text = new StringBuilder("text,n\n");
        for (var i = 0; i < 50_000; i++)
            text.Append("some words of row ").Append(i).Append(',').Append(i).Append('\n');
        using var stream = new OneWayStream(new MemoryStream(Encoding.UTF8.GetBytes(text.ToString())));
        var read = ReadAll(Reader(".csv"), stream, "x.csv");
        Assert.Equal(50_000, read.Count);
        Assert.Equal(("some words of row 49999", "x.csv:50001"), read[^1]);

        using var again = new OneWayStream(new MemoryStream(Encoding.UTF8.GetBytes(text.ToString())));
        var records = ((IRecordReader)Reader(".csv")).ReadRecords(again, "x.csv").Select(r => r.Value.GetProperty("n").GetString());
        Assert.Equal(Enumerable.Range(0, 50_000).Select(i => $"{i}"), records);
    }

    [Fact]
    public void Read_long_text_that_nobody_reads_to_its_end_leaves_the_worker_for_the_next_file()
    {
        var page = $"<p>{new string('a', 20_000_000)}</p>";
        for (var i = 0; i < 3; i++)
        {
            using var stream = new MemoryStream(Encoding.UTF8.GetBytes(page));
            foreach (var (text, _) in Reader(".html").Read(stream, "a.html"))
            {
                Assert.Equal('a', (char)text.Read());
                break;
            }
        }
        using var next = new MemoryStream("<p>next"u8.ToArray());
        Assert.Equal([("next", "b.html")], ReadAll(Reader(".html"), next, "b.html"));
    }

    [Fact]
    public void Read_file_that_cannot_be_read_throws_what_its_stream_throws()
    {
        using var broken = new OneWayStream(null);
        Assert.Equal("the disk is gone", Assert.Throws<IOException>(() => ReadAll(Reader(".html"), broken, "a.html")).Message);
        using var next = new MemoryStream("<p>next"u8.ToArray());
        Assert.Single(ReadAll(Reader(".html"), next, "b.html"));
    }

    [Fact]
    public void Read_refused_file_has_the_message_of_its_reader()
    {
        using var stream = new MemoryStream([1, 2, 3]);
        using var again = new MemoryStream([1, 2, 3]);
        var here = Assert.Throws<DataException>(() => ReadAll(new ParquetReader(), stream, "x.parquet"));
        Assert.Equal(here.Message, Assert.Throws<DataException>(() => ReadAll(Reader(".parquet"), again, "x.parquet")).Message);
    }

    [Fact]
    public void Read_document_of_too_many_characters_is_refused()
    {
        using var workers = new DocumentWorkers(new DocumentWorkerOptions { DocumentCharacters = 1000 });
        var reader = workers.Readers.Single(r => r.Extensions.Contains(".html"));
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes($"<p>{new string('a', 1001)}"));
        var refused = Assert.Throws<DataException>(() => ReadAll(reader, stream, "a.html"));
        Assert.Contains("more than 1,000 characters", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_several_files_at_once_has_a_worker_for_each()
    {
        var names = Enumerable.Range(0, 12).ToList();
        var texts = names
            .AsParallel()
            .AsOrdered()
            .WithDegreeOfParallelism(4)
            .Select(i =>
            {
                using var stream = new MemoryStream(Encoding.UTF8.GetBytes($"<p>page {i}"));
                return ReadAll(Reader(".html"), stream, "a.html")[0].Text;
            });
        Assert.Equal(names.Select(i => $"page {i}"), texts);
    }

    [Fact]
    public void Read_canceled_while_a_worker_is_busy_ends_soon()
    {
        using var cancellation = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        using var stream = new MemoryStream(LongLora.Tests.HostileDocuments.All["forms-doubling-30.pdf"]());
        using var patient = new DocumentWorkers(new DocumentWorkerOptions { Time = TimeSpan.FromHours(1) });
        Assert.ThrowsAny<OperationCanceledException>(() =>
            DocumentText.Read(stream, "a.pdf", patient.Readers, 1 << 20, cancellation.Token)
        );
    }

    [Fact]
    public void Options_that_make_no_sense_are_refused() =>
        Assert.Throws<ConfigurationException>(() => new DocumentWorkers(new DocumentWorkerOptions { MemoryBytes = 1 }));

    // As from a decompressor; without an inner stream, as from a disk that is gone.
    private sealed class OneWayStream(Stream? inner) : Stream
    {
        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override int Read(byte[] buffer, int offset, int count) =>
            inner?.Read(buffer, offset, count) ?? throw new IOException("the disk is gone");

        public override void Flush() { }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
