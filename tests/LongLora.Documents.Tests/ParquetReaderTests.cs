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

    private static string Material(string name) => Path.Combine(AppContext.BaseDirectory, "Material", "parquet", $"{name}.parquet");

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
    public void Read_binary_text_is_decoded_as_UTF8()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new Bytes { text = "naïve 世界"u8.ToArray() },
                new Bytes { text = [] },
            }
        );
        Assert.Equal(["naïve 世界", ""], Read(path, s => new ParquetReader().Read(s, "a.parquet").Select(d => d.Text.ReadToEnd())));
    }

    [Theory]
    [InlineData("arrow-dictionary", 4)]
    [InlineData("arrow-largebinary", 4)]
    [InlineData("arrow-largeutf8", 4)]
    [InlineData("bare-zstd", 3000)]
    [InlineData("bare-v2", 3000)]
    [InlineData("text-v2", 3000)]
    public void Read_files_of_other_writers_gives_their_texts(string name, int rows)
    {
        var texts = Read(Material(name), s => new ParquetReader().Read(s, "a.parquet").Select(d => d.Text.ReadToEnd()));
        var expected = Enumerable.Range(0, rows).Select(i => $"Grüße {i % 7}");
        // Rows without a text are no documents.
        Assert.Equal(rows == 4 ? ["Grüße 0", "Grüße 1", "Grüße 0"] : expected, texts);
    }

    [Theory]
    [InlineData("messages")]
    [InlineData("messages-bare")]
    public void ReadRecords_of_another_writer_are_conversations(string name)
    {
        var asked = Conversations(Material(name));
        Assert.Equal(Enumerable.Range(1, 3).Select(i => $"a.parquet:{i} user:Hi ü|assistant:Yes"), asked);
    }

    [Fact]
    public void Read_text_that_is_no_text_is_refused_with_the_name_of_its_column()
    {
        string Refuse<T>(T row)
        {
            var path = Write("a.parquet", new[] { row });
            return Assert
                .Throws<DataException>(() => Read(path, s => new ParquetReader().Read(s, "a.parquet").Select(d => d.Text.ReadToEnd())))
                .Message;
        }
        Assert.Contains("a.parquet:1", Refuse(new Bytes { text = [0xFF, 0xFE, 0x41] }), StringComparison.Ordinal);
        Assert.Contains(
            "column 'text' contains 3 bytes that are not UTF-8",
            Refuse(new Bytes { text = [0xFF, 0xFE, 0x41] }),
            StringComparison.Ordinal
        );
        Assert.Contains("column 'text' contains a number", Refuse(new Numbers { text = 3 }), StringComparison.Ordinal);
        Assert.Contains("column 'text' contains a list", Refuse(new Lists { text = ["a"] }), StringComparison.Ordinal);
    }

    [Fact]
    public void ReadRecords_binary_within_lists_and_structs_is_decoded()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new BinaryChat
                {
                    messages =
                    [
                        new() { role = "user"u8.ToArray(), content = "hé"u8.ToArray() },
                        new() { role = "assistant"u8.ToArray(), content = "ho"u8.ToArray() },
                    ],
                    tags = ["x"u8.ToArray(), [0xFF]],
                    names = ["y"],
                },
            }
        );
        Assert.Equal(["a.parquet:1 user:hé|assistant:ho"], Conversations(path));
        var json = Read(path, s => new ParquetReader().ReadRecords(s, "a.parquet").Select(r => r.Value.GetRawText())).Single();
        Assert.Contains(
            "\"tags\":[\"x\",{\"unreadable\":\"1 bytes that are not UTF-8\"}],\"names\":[\"y\"]",
            json,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void ReadRecords_bytes_that_are_no_text_are_refused_as_an_answer_by_name()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new BinaryAnswer { instruction = "q", output = [0xFF, 0xD8] },
            }
        );
        Assert.Contains("'output'", Assert.Throws<DataException>(() => Conversations(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ReadRecords_values_of_other_types_have_one_known_form()
    {
        var path = Write(
            "a.parquet",
            new[]
            {
                new Values
                {
                    day = new DateTime(2020, 1, 2, 3, 4, 5, DateTimeKind.Utc),
                    price = 1.5m,
                    big = ulong.MaxValue,
                    id = new Guid("58518ea3-aa26-4909-b63c-bb5ea2762d9b"),
                    real = float.NaN,
                    map = new() { ["k"] = "v" },
                },
            }
        );
        Assert.Equal(
            """{"day":"2020-01-02T03:04:05","price":1.5,"big":18446744073709551615,"id":"58518ea3-aa26-4909-b63c-bb5ea2762d9b","real":{"unreadable":"the number NaN"},"map":{"k":"v"}}""",
            Read(path, s => new ParquetReader().ReadRecords(s, "a.parquet").Select(r => r.Value.GetRawText())).Single()
        );
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

    [Theory]
    [InlineData(5, 8)] // numbers that are texts: the library would read numbers to the end and go on for ever
    [InlineData(5, 12)]
    [InlineData(8, 5)]
    [InlineData(12, 5)]
    public void Read_list_of_items_of_another_type_is_refused(byte type, byte other)
    {
        var path = Write("a.parquet", new[] { new Texts { text = "one" } });
        var bytes = File.ReadAllBytes(path);
        var footer = bytes.Length - 8 - BitConverter.ToInt32(bytes, bytes.Length - 8);
        // Headers of fields that are lists, each followed by the number and type of its items.
        var lists = Enumerable
            .Range(footer, bytes.Length - 9 - footer)
            .Where(i => bytes[i] == 0x19 && (bytes[i + 1] & 15) == type)
            .ToArray();
        Assert.NotEmpty(lists);
        foreach (var list in lists)
        {
            var damaged = bytes.ToArray();
            damaged[list + 1] = (byte)(damaged[list + 1] & 0xF0 | other);
            File.WriteAllBytes(path, damaged);
            Assert.Throws<DataException>(() => Read(path, s => new ParquetReader().Read(s, "a.parquet").Select(d => d.Text.ReadToEnd())));
        }
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

    internal sealed class Bytes
    {
        public byte[] text { get; set; } = [];
    }

    internal sealed class Numbers
    {
        public int text { get; set; }
    }

    internal sealed class Lists
    {
        public List<string> text { get; set; } = [];
    }

    internal sealed class BinaryAnswer
    {
        public string instruction { get; set; } = "";

        public byte[] output { get; set; } = [];
    }

    internal sealed class BinaryChat
    {
        public List<BinaryMessage> messages { get; set; } = [];

        public List<byte[]> tags { get; set; } = [];

        public List<string> names { get; set; } = [];
    }

    internal sealed class BinaryMessage
    {
        public byte[] role { get; set; } = [];

        public byte[] content { get; set; } = [];
    }

    internal sealed class Values
    {
        public DateTime day { get; set; }

        public decimal price { get; set; }

        public ulong big { get; set; }

        public Guid id { get; set; }

        public float real { get; set; }

        public Dictionary<string, string> map { get; set; } = [];
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
