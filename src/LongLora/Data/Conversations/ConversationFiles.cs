using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Reads conversations from files.</summary>
internal sealed class ConversationFiles
{
    private readonly List<string> _files;
    private readonly IReadOnlyList<IRecordReader> _readers;
    private readonly ConversationFormat _format;

    /// <summary>Finds files.</summary>
    /// <param name="paths">Files and folders: <c>.json</c>, <c>.jsonl</c>, compressed or not, and what further readers support.</param>
    /// <param name="format">The layouts and the names of fields.</param>
    /// <param name="readers">Readers of further file types, such as Parquet; null for none.</param>
    /// <exception cref="DataException">A path does not exist, or a folder contains no readable file.</exception>
    public ConversationFiles(IEnumerable<string> paths, ConversationFormat format, IEnumerable<IRecordReader>? readers = null)
    {
        (_format, _readers) = (format, [new JsonRecords(), .. readers ?? []]);
        _files = [.. DataFiles.Expand(paths, [.. _readers.SelectMany(r => r.Extensions)])];
    }

    /// <summary>Reads the conversations one after the other.</summary>
    /// <param name="cancellation">Checked once per conversation.</param>
    /// <exception cref="DataException">A record is damaged or not a conversation.</exception>
    public IEnumerable<Conversation> Read(CancellationToken cancellation = default)
    {
        foreach (var file in _files)
        {
            foreach (var conversation in DataFiles.Guard(ReadFile(file), file))
            {
                cancellation.ThrowIfCancellationRequested();
                yield return conversation;
            }
        }
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(", ", _files);

    private IEnumerable<Conversation> ReadFile(string file)
    {
        var extension = DataFiles.GetExtension(file);
        using var stream = DataFiles.Open(file);
        foreach (var record in _readers.First(r => r.Extensions.Contains(extension)).ReadRecords(stream, file))
        {
            foreach (var conversation in _format.Read(record))
                yield return conversation;
        }
    }
}
