using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.ExceptionServices;
using System.Security.Cryptography;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>One run of <see cref="CorpusBuilder"/>.</summary>
internal sealed class CorpusRun(
    PrepareOptions options,
    CorpusTokenizer? tokenizer,
    List<CorpusSource> sources,
    IReadOnlyList<UnreadKind> unread,
    IProgress<PrepareProgress>? progress,
    CancellationToken cancellation
)
{
    private const long UnitBytes = 4 << 20;
    private const int UnitFiles = 32;

    private readonly string _settings = string.Create(
        CultureInfo.InvariantCulture,
        $"longlora corpus 1, {options.Format.ToString().ToLowerInvariant()}{(options.Raw ? ", raw" : "")}, tokenizer "
            + $"{tokenizer?.Identity ?? "none"}"
    );

    private readonly string _manifest = Path.Combine(options.Output, "manifest.json");
    private readonly string _parts = Path.Combine(options.Output, ".parts");
    private readonly long _allBytes = sources.Sum(s => s.Length);
    private readonly Lock _lock = new();
    private int _files;
    private long _bytes;

    private string Target =>
        Path.Combine(
            options.Output,
            options.Format switch
            {
                CorpusFormat.Bin => "tokens.bin",
                CorpusFormat.Jsonl => "documents.jsonl",
                _ => "text",
            }
        );

    public CorpusReport Execute()
    {
        var before = ReadBefore();
        var known = before?.Files.ToDictionary(f => f.Name, StringComparer.Ordinal) ?? [];
        SourceRecord? Unchanged(CorpusSource s) =>
            known.TryGetValue(s.Name, out var record) && record.IsOf(s) && HasTextFiles(record) ? record : null;

        var records = new SourceRecord?[sources.Count];
        var fresh = new List<int>();
        for (var i = 0; i < sources.Count; i++)
        {
            records[i] = Unchanged(sources[i]);
            if (records[i] is null)
                fresh.Add(i);
            else
                ReportDone(sources[i]);
        }
        var units = MakeUnits(fresh);
        Process(units, records);
        cancellation.ThrowIfCancellationRequested();
        if (records.All(r => r!.Documents == 0))
            throw MakeNothingReadError(records);
        // A file that cannot be read is tried again each time. If it still fails, nothing changes.
        var isSame =
            fresh.TrueForAll(i => records[i]!.Error is not null)
            && before?.Files.Select(f => (f.Name, f.Bytes)).SequenceEqual(records.Select(r => (r!.Name, r.Bytes))) == true;
        if (!isSame)
        {
            Join(before, units, records);
            new CorpusManifest(_settings, records!).Write(_manifest);
        }
        AtomicFile.Delete(_parts);
        return CorpusReport.Of(Target, records!, tokenizer, options.Format == CorpusFormat.Bin, sources.Count - fresh.Count, unread);
    }

    // The manifest of an earlier run, which describes the existing corpus.
    private CorpusManifest? ReadBefore()
    {
        if (!Directory.Exists(options.Output))
            return null;
        var before = CorpusManifest.Read(_manifest);
        if (before is not null && before.Settings != _settings)
            throw new ConfigurationException(
                $"Cannot update the corpus in '{options.Output}' because it was made with other settings: {before.Settings}. The "
                    + $"new settings are: {_settings}. Choose another folder, or delete this one."
            );
        if (before is null && !Directory.Exists(_parts) && Directory.EnumerateFileSystemEntries(options.Output).Any())
            throw new ConfigurationException(
                $"Cannot write to '{options.Output}' because it is not empty and not a corpus. Choose another folder."
            );
        var isWhole =
            options.Format == CorpusFormat.Txt
            || (File.Exists(Target) && before is not null && new FileInfo(Target).Length == before.Files.Sum(f => f.Bytes));
        return isWhole ? before : null;
    }

    private bool HasTextFiles(SourceRecord record) => options.Format != CorpusFormat.Txt || ListTextFiles(record).All(File.Exists);

    private IEnumerable<string> ListTextFiles(SourceRecord record)
    {
        var only = DocumentWriter.MakeTextPath(options.Output, record.Name, 1, isOnly: true);
        return record.Documents == 1 && File.Exists(only)
            ? [only]
            : Enumerable
                .Range(1, (int)record.Documents)
                .Select(n => DocumentWriter.MakeTextPath(options.Output, record.Name, n, isOnly: false));
    }

    private sealed record Unit(string Data, string Record, List<int> Sources);

    // Neighboring files to read, enough for one thread. A unit is identified by everything that its documents depend on.
    private List<Unit> MakeUnits(List<int> fresh)
    {
        var units = new List<Unit>();
        List<int> current = [];
        var bytes = 0L;
        foreach (var i in fresh)
        {
            if (current.Count > 0 && (bytes + sources[i].Length > UnitBytes || current.Count == UnitFiles))
            {
                units.Add(NameUnit(current));
                (current, bytes) = ([], 0);
            }
            current.Add(i);
            bytes += sources[i].Length;
        }
        if (current.Count > 0)
            units.Add(NameUnit(current));
        return units;
    }

    private Unit NameUnit(List<int> members)
    {
        var text = new StringBuilder(_settings);
        foreach (var i in members)
            text.Append(CultureInfo.InvariantCulture, $"\n{sources[i].Name}\t{sources[i].Length}\t{sources[i].Modified}");
        var name = Path.Combine(_parts, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())))[..24]);
        return new Unit(name + ".data", name + ".json", members);
    }

    private void Process(List<Unit> units, SourceRecord?[] records)
    {
        if (units.Count == 0)
            return;
        try
        {
            Parallel.ForEach(
                Partitioner.Create(units, EnumerablePartitionerOptions.NoBuffering),
                new ParallelOptions { MaxDegreeOfParallelism = options.Parallel, CancellationToken = cancellation },
                unit => Process(unit, records)
            );
        }
        catch (AggregateException e)
            when (e.InnerExceptions.FirstOrDefault(i => i is LongLoraException or OperationCanceledException) is { } first)
        {
            ExceptionDispatchInfo.Throw(first);
        }
    }

    private void Process(Unit unit, SourceRecord?[] records)
    {
        if (
            CorpusManifest.Read(unit.Record) is { } done
            && done.Files.Count == unit.Sources.Count
            && File.Exists(unit.Data)
            && new FileInfo(unit.Data).Length == done.Files.Sum(f => f.Bytes)
            && done.Files.All(f => f.Error is null && HasTextFiles(f))
        )
        {
            for (var i = 0; i < unit.Sources.Count; i++)
            {
                records[unit.Sources[i]] = done.Files[i];
                ReportDone(sources[unit.Sources[i]]);
            }
            return;
        }
        AtomicFile.Write(unit.Data, stream =>
        {
            var writer = new DocumentWriter(options, tokenizer, stream);
            foreach (var i in unit.Sources)
            {
                records[i] = writer.Write(sources[i], cancellation);
                ReportDone(sources[i]);
            }
        });
        new CorpusManifest(_settings, [.. unit.Sources.Select(i => records[i]!)]).Write(unit.Record);
    }

    private void ReportDone(CorpusSource source)
    {
        lock (_lock)
        {
            _files++;
            _bytes += source.Length;
            progress?.Report(new PrepareProgress(_files, sources.Count, _bytes, _allBytes));
        }
    }

    // Takes documents of new files from the parts and all others from the old corpus, in the order of the files.
    private void Join(CorpusManifest? before, List<Unit> units, SourceRecord?[] records)
    {
        if (options.Format == CorpusFormat.Txt)
        {
            RemoveOldTexts(before, records);
            return;
        }
        var places = new Dictionary<string, (string File, long Start)>(StringComparer.Ordinal);
        AddLocations(before?.Files ?? [], Target, places);
        foreach (var unit in units)
            AddLocations([.. unit.Sources.Select(i => records[i]!)], unit.Data, places);
        AtomicFile.Write(Target, stream =>
        {
            FileStream? open = null;
            foreach (var record in records)
            {
                var (file, start) = places[record!.Name];
                if (open?.Name != Path.GetFullPath(file))
                {
                    open?.Dispose();
                    open = new FileStream(Path.GetFullPath(file), FileMode.Open, FileAccess.Read, FileShare.Read, 1);
                }
                open.Position = start;
                Copy(open, stream, record.Bytes);
            }
            open?.Dispose();
            // From here until the new manifest is written, nothing describes the corpus.
            File.Delete(_manifest);
        });
    }

    private static void AddLocations(IReadOnlyList<SourceRecord> files, string path, Dictionary<string, (string, long)> places)
    {
        var start = 0L;
        foreach (var file in files)
        {
            places[file.Name] = (path, start);
            start += file.Bytes;
        }
    }

    private static void Copy(FileStream from, Stream to, long count)
    {
        var buffer = new byte[1 << 17];
        while (count > 0)
        {
            var read = from.Read(buffer, 0, (int)Math.Min(count, buffer.Length));
            if (read == 0)
                throw new IOException($"{from.Name} ends too early.");
            to.Write(buffer, 0, read);
            count -= read;
        }
    }

    private void RemoveOldTexts(CorpusManifest? before, SourceRecord?[] records)
    {
        var kept = records.SelectMany(r => ListTextFiles(r!)).ToHashSet(StringComparer.Ordinal);
        foreach (var file in (before?.Files ?? []).SelectMany(ListTextFiles).Where(f => !kept.Contains(f)))
            AtomicFile.Delete(file);
    }

    private static DataException MakeNothingReadError(SourceRecord?[] records)
    {
        var reasons = records.Where(r => r!.Error is not null).Select(r => r!.Error!).Take(5).ToList();
        return new DataException(
            reasons.Count == 0
                ? "Cannot make a corpus because the data contains no text: every file is empty or was written by a program."
                : $"Cannot make a corpus because no file could be read. {string.Join(' ', reasons)}"
        );
    }
}
