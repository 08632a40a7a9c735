using LongLora.Data;
using LongLora.Runtime;
using Parquet.Serialization;

namespace LongLora.Documents.Tests;

public sealed class ParquetReaderTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Write<T>(string name, IEnumerable<T> rows)
    {
        var path = Path.Combine(_folder, name);
        using var stream = File.Create(path);
        ParquetSerializer.SerializeAsync(rows, stream).GetAwaiter().GetResult();
        return path;
    }

    private static List<T> Read<T>(string path, Func<Stream, IEnumerable<T>> read)
    {
        using var stream = File.OpenRead(path);
        return [.. read(stream)];
    }

    private static List<string> Conversations(string path, params string[] columns)
    {
        var format = new ConversationFormat(columns);
        using var stream = File.OpenRead(path);
        return
        [
            .. new ParquetReader()
                .ReadRecords(stream, "a.parquet")
                .SelectMany(format.Read)
                .Select(c => $"{c.Origin} " + string.Join('|', c.Messages.Select(m => $"{m.Role}:{m.Content}"))),
        ];
    }

    [Fact]
    public void ReadRecords_rows_are_conversations()
    {
        var path = Write(
            "a.parquet",
            Enumerable
                .Range(1, 3)
                .Select(i => new Alpaca
                {
                    instruction = $"q{i} é",
                    input = i == 2 ? "in" : null,
                    output = $"a{i}",
                })
        );
        Assert.Equal(
            ["a.parquet:1 user:q1 é|assistant:a1", "a.parquet:2 user:q2 é\nin|assistant:a2", "a.parquet:3 user:q3 é|assistant:a3"],
            Conversations(path)
        );
    }

    [Fact]
    public void ReadRecords_nested_messages_are_conversations()
    {
        var path = Write(
            "a.parquet",
            new[] { new Chat { messages = [new() { role = "user", content = "hi" }, new() { role = "assistant", content = "ho" }] } }
        );
        Assert.Equal(["a.parquet:1 user:hi|assistant:ho"], Conversations(path));
    }

    [Fact]
    public void ReadRecords_wrong_columns_are_told_with_the_right_ones()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new Questions { question = "q", answer = "a" },
            }
        );
        var message = Assert.Throws<DataException>(() => Conversations(path)).Message;
        Assert.Contains("question, answer", message, StringComparison.Ordinal);
        Assert.Contains("--columns instruction=question output=answer", message, StringComparison.Ordinal);
        Assert.Equal(["a.parquet:1 user:q|assistant:a"], Conversations(path, "instruction=question", "output=answer"));
        Assert.Contains(
            "no column 'text'",
            Assert.Throws<DataException>(() => Read(path, s => new ParquetReader().Read(s, "a.parquet"))).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Read_column_text_is_documents()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new Texts { text = "one" },
                new Texts { text = "two" },
            }
        );
        Assert.Equal(["one", "two"], Read(path, s => new ParquetReader().Read(s, "a.parquet").Select(d => d.Text.ReadToEnd())));
    }

    [Fact]
    public void ReadRecords_damaged_file_is_refused()
    {
        var path = Write("a.parquet", new[] { new Texts { text = "one" } });
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..^9]);
        Assert.Contains(
            "a.parquet as a Parquet file",
            Assert.Throws<DataException>(() => Conversations(path)).Message,
            StringComparison.Ordinal
        );
    }

#pragma warning disable IDE1006, CA1812, CA1002 // names are those of columns
    internal sealed class Alpaca
    {
        public string instruction { get; set; } = "";

        public string? input { get; set; }

        public string output { get; set; } = "";
    }

    internal sealed class Questions
    {
        public string question { get; set; } = "";

        public string answer { get; set; } = "";
    }

    internal sealed class Texts
    {
        public string text { get; set; } = "";
    }

    internal sealed class Chat
    {
        public List<Message> messages { get; set; } = [];
    }

    internal sealed class Message
    {
        public string role { get; set; } = "";

        public string content { get; set; } = "";
    }
#pragma warning restore
}
