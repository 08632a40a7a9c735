using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Data;
using LongLora.Documents.Workers;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>
/// Reads one file after the other and writes its documents in one format, with constant memory however long a document is. Not thread-safe.
/// </summary>
/// <param name="options">The options.</param>
/// <param name="tokenizer">Makes or counts tokens; null to do neither.</param>
/// <param name="stream">
/// Where documents go if the format has one file. It must be seekable, because the output of an unreadable file is removed again.
/// </param>
internal sealed class DocumentWriter(PrepareOptions options, CorpusTokenizer? tokenizer, Stream stream)
{
    private static readonly JsonWriterOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly char[] _buffer = new char[1 << 14];
    private readonly List<string> _texts = []; // of the file that is being read, with one file per document

    /// <summary>Writes all documents of a file and describes them, or the error.</summary>
    public SourceRecord Write(CorpusSource source, CancellationToken cancellation)
    {
        var start = stream.Position;
        _texts.Clear();
        var (lengths, characters) = (new LengthHistogram(), 0L);
        var record = new SourceRecord
        {
            Name = source.Name,
            Length = source.Length,
            Modified = source.Modified,
        };
        try
        {
            foreach (var (length, written) in DataFiles.Guard(WriteAll(source, cancellation), source.Path))
            {
                lengths.Add(length);
                characters += written;
            }
        }
        catch (Exception e)
            when (e is not (ConfigurationException or CheckpointException or OperationCanceledException or OutOfMemoryException))
        {
            stream.SetLength(start);
            stream.Position = start;
            _texts.ForEach(AtomicFile.Delete);
            // One bad file among thousands does not stop the work on the others.
            return record with
            {
                Error =
                    e is DataException
                        ? e.Message
                        : $"Cannot read {source.Path} because of a bug in LongLora: {e.GetType().Name}: {e.Message} Please report it "
                            + $"with the file.",
            };
        }
        return record with
        {
            Documents = lengths.Documents,
            Characters = characters,
            Tokens = tokenizer is null ? 0 : lengths.Length,
            Bytes = stream.Position - start,
            Lengths = lengths.ToNumbers(),
        };
    }

    /// <summary>The file of one document in the format with one file per document.</summary>
    public static string MakeTextPath(string output, string source, long number, bool isOnly) =>
        Path.Combine([
            output,
            "text",
            .. SplitSafely(source),
            .. isOnly ? (string[])[] : [number.ToString("D6", CultureInfo.InvariantCulture)],
        ]) + ".txt";

    private static IEnumerable<string> SplitSafely(string name) =>
        name.Split('/', StringSplitOptions.RemoveEmptyEntries).Select(p => p is "." or ".." ? "_" : p.Replace(':', '_'));

    private IEnumerable<(long Length, long Characters)> WriteAll(CorpusSource source, CancellationToken cancellation)
    {
        using var file = DataFiles.Open(source.Path);
        var number = 0L;
        foreach (var (text, origin) in source.Reader.ReadUntil(file, source.Path, cancellation))
        {
            cancellation.ThrowIfCancellationRequested();
            using var clean = new CleanText(text, options.Raw);
            if (clean.IsAtEnd)
                continue;
            var tokens = 0L;
            switch (options.Format)
            {
                case CorpusFormat.Bin:
                    foreach (var ids in tokenizer!.Encode(clean, origin))
                    {
                        WriteTokens(ids);
                        tokens += ids.Count;
                        cancellation.ThrowIfCancellationRequested();
                    }
                    break;
                case CorpusFormat.Jsonl:
                    tokens = WriteJson(clean, origin, source.Name + origin[source.Path.Length..], cancellation);
                    break;
                case CorpusFormat.Txt:
                    // If a file is a single document, it gives the document its name. Otherwise each document gets a number.
                    var path = MakeTextPath(options.Output, source.Name, ++number, origin == source.Path);
                    AtomicFile.Write(path, target =>
                    {
                        using var writer = new StreamWriter(target, leaveOpen: true);
                        tokens = Pass(clean, origin, chars => writer.Write(chars), cancellation);
                        writer.Write('\n');
                    });
                    _texts.Add(path);
                    break;
            }
            yield return (tokenizer is null ? clean.Count : tokens, clean.Count);
        }
    }

    private void WriteTokens(IReadOnlyList<int> ids)
    {
        var bytes = ArrayPool<byte>.Shared.Rent(ids.Count * tokenizer!.Width);
        var target = bytes.AsSpan(0, ids.Count * tokenizer.Width);
        if (tokenizer.Width == 2)
        {
            var small = MemoryMarshal.Cast<byte, ushort>(target);
            for (var i = 0; i < small.Length; i++)
                small[i] = (ushort)ids[i];
        }
        else
        {
            var large = MemoryMarshal.Cast<byte, int>(target);
            for (var i = 0; i < large.Length; i++)
                large[i] = ids[i];
        }
        stream.Write(target);
        ArrayPool<byte>.Shared.Return(bytes);
    }

    private long WriteJson(CleanText text, string origin, string name, CancellationToken cancellation)
    {
        using var json = new Utf8JsonWriter(stream, s_json);
        json.WriteStartObject();
        json.WritePropertyName("text");
        var tokens = Pass(
            text,
            origin,
            chars =>
            {
                json.WriteStringValueSegment(chars, isFinalSegment: false);
                if (json.BytesPending > 1 << 16)
                    json.Flush();
            },
            cancellation
        );
        json.WriteStringValueSegment(ReadOnlySpan<char>.Empty, isFinalSegment: true);
        json.WriteString("source", name);
        json.WriteEndObject();
        json.Flush();
        stream.WriteByte((byte)'\n');
        return tokens;
    }

    // Passes a text on, and counts its tokens if there is a tokenizer.
    private long Pass(CleanText text, string origin, Action<ReadOnlySpan<char>> write, CancellationToken cancellation)
    {
        if (tokenizer is null)
        {
            while (text.Read(_buffer) is > 0 and var count)
            {
                write(_buffer.AsSpan(0, count));
                cancellation.ThrowIfCancellationRequested();
            }
            return 0;
        }
        using var tee = new Tee(text, write);
        var tokens = 0L;
        foreach (var ids in tokenizer.Encode(tee, origin))
        {
            tokens += ids.Count;
            cancellation.ThrowIfCancellationRequested();
        }
        return tokens;
    }

    private sealed class Tee(TextReader text, Action<ReadOnlySpan<char>> write) : TextReader
    {
        public override int Read(Span<char> buffer)
        {
            var count = text.Read(buffer);
            write(buffer[..count]);
            return count;
        }

        public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));
    }
}
