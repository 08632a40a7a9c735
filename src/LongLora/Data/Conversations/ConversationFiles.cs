using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Reads conversations from files.</summary>
internal sealed class ConversationFiles : IFileReport
{
    private readonly List<string> _files;
    private readonly List<string> _unread = [],
        _withoutText = [];
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
        _files = [.. DataFiles.Expand(paths, [.. _readers.SelectMany(r => r.Extensions)], _unread)];
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Unread => _unread;

    /// <inheritdoc/>
    public IReadOnlyList<string> WithoutText => _withoutText;

    /// <summary>Reads the conversations one after the other.</summary>
    /// <param name="cancellation">Checked once per conversation.</param>
    /// <exception cref="DataException">A record is damaged or not a conversation.</exception>
    public IEnumerable<Conversation> Read(CancellationToken cancellation = default)
    {
        _withoutText.Clear();
        foreach (var file in _files)
        {
            var isEmpty = true;
            foreach (var conversation in DataFiles.Guard(ReadFile(file), file))
            {
                cancellation.ThrowIfCancellationRequested();
                isEmpty = false;
                yield return conversation;
            }
            if (isEmpty)
                _withoutText.Add(file);
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
