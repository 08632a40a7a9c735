using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Conversations as they stand in files.</summary>
public sealed class ConversationFiles
{
    private readonly List<string> _files;
    private readonly IReadOnlyList<IRecordReader> _readers;
    private readonly ConversationFormat _format;

    /// <summary>Finds files.</summary>
    /// <param name="paths">Files and folders: <c>.json</c>, <c>.jsonl</c>, packed or not, and what further readers know.</param>
    /// <param name="format">The layouts and names of fields.</param>
    /// <param name="readers">Readers of further kinds, such as that for Parquet; null for none.</param>
    /// <exception cref="DataException">A path is missing, or a folder holds nothing readable.</exception>
    public ConversationFiles(IEnumerable<string> paths, ConversationFormat format, IEnumerable<IRecordReader>? readers = null)
    {
        (_format, _readers) = (format, [new JsonRecords(), .. readers ?? []]);
        _files = [.. DataFiles.Expand(paths, [.. _readers.SelectMany(r => r.Extensions)])];
    }

    /// <summary>One after the other.</summary>
    /// <param name="cancellation">Looked at once a conversation.</param>
    /// <exception cref="DataException">A record is damaged, or no conversation.</exception>
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
