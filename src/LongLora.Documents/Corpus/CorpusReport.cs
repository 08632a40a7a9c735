using LongLora.Data;

namespace LongLora.Documents.Corpus;

/// <summary>What a corpus contains.</summary>
public sealed record CorpusReport
{
    /// <summary>The file with the documents, or the folder of text files.</summary>
    public required string Path { get; init; }

    /// <summary>Totals by file type, most characters first.</summary>
    public required IReadOnlyList<KindTotal> Kinds { get; init; }

    /// <summary>Lengths of the documents in tokens, or in characters without a tokenizer.</summary>
    public required LengthHistogram Lengths { get; init; }

    /// <summary>Whether lengths are in tokens.</summary>
    public required bool HasTokens { get; init; }

    /// <summary>Bytes per token if tokens were written, else null.</summary>
    public required int? TokenWidth { get; init; }

    /// <summary>Files that could not be read.</summary>
    public required IReadOnlyList<LeftOutFile> LeftOut { get; init; }

    /// <summary>Files in which no text was found: empty ones, and source code that a program wrote.</summary>
    public required IReadOnlyList<string> WithoutText { get; init; }

    /// <summary>Files in the given folders that were not read because there is no reader for their type, most files first.</summary>
    public required IReadOnlyList<UnreadKind> Unread { get; init; }

    /// <summary>Number of files whose documents were kept from an earlier run.</summary>
    public required int TakenOver { get; init; }

    /// <summary>Number of all files.</summary>
    public required int Files { get; init; }

    /// <summary>Number of all documents.</summary>
    public long Documents => Kinds.Sum(k => k.Documents);

    /// <summary>Number of all characters.</summary>
    public long Characters => Kinds.Sum(k => k.Characters);

    /// <summary>Number of all tokens; 0 without a tokenizer.</summary>
    public long Tokens => Kinds.Sum(k => k.Tokens);

    internal static CorpusReport Of(
        string path,
        IReadOnlyList<SourceRecord> records,
        CorpusTokenizer? tokenizer,
        bool writesTokens,
        int takenOver,
        IReadOnlyList<UnreadKind> unread
    )
    {
        var lengths = new LengthHistogram();
        foreach (var record in records)
            lengths.Add(LengthHistogram.FromNumbers(record.Lengths) ?? new LengthHistogram());
        return new CorpusReport
        {
            Path = path,
            Kinds =
            [
                .. records
                    .Where(r => r.Error is null)
                    .GroupBy(r => DataFiles.GetExtension(r.Name))
                    .Select(g => new KindTotal(g.Key, g.Count(), g.Sum(r => r.Documents), g.Sum(r => r.Characters), g.Sum(r => r.Tokens)))
                    .OrderByDescending(k => k.Characters)
                    .ThenBy(k => k.Extension, StringComparer.Ordinal),
            ],
            Lengths = lengths,
            HasTokens = tokenizer is not null,
            TokenWidth = writesTokens ? tokenizer!.Width : null,
            LeftOut = [.. records.Where(r => r.Error is not null).Select(r => new LeftOutFile(r.Name, r.Error!))],
            WithoutText = [.. records.Where(r => r.Error is null && r.Documents == 0).Select(r => r.Name)],
            Unread = unread,
            TakenOver = takenOver,
            Files = records.Count,
        };
    }
}
