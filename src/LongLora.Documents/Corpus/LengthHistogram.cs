namespace LongLora.Documents.Corpus;

/// <summary>Number of documents by length, in powers of two. Its size is constant however large the corpus is.</summary>
public sealed class LengthHistogram
{
    private readonly long[] _documents = new long[64],
        _lengths = new long[64];

    /// <summary>The longest document.</summary>
    public long Longest { get; private set; }

    /// <summary>Number of all documents.</summary>
    public long Documents => _documents.Sum();

    /// <summary>The sum of their lengths.</summary>
    public long Length => _lengths.Sum();

    /// <summary>The bins from the first to the last that contains a document, including empty ones between them.</summary>
    public IReadOnlyList<LengthBin> Bins
    {
        get
        {
            var (first, last) = (Array.FindIndex(_documents, d => d > 0), Array.FindLastIndex(_documents, d => d > 0));
            return first < 0
                ? []
                :
                [
                    .. Enumerable
                        .Range(first, last - first + 1)
                        .Select(i => new LengthBin(1L << i, 1L << (i + 1), _documents[i], _lengths[i])),
                ];
        }
    }

    /// <summary>Counts one document.</summary>
    /// <param name="length">Its length, at least 1.</param>
    public void Add(long length)
    {
        var bin = 63 - long.LeadingZeroCount(Math.Max(1, length));
        _documents[bin]++;
        _lengths[bin] += length;
        Longest = Math.Max(Longest, length);
    }

    /// <summary>Adds the counts of another histogram.</summary>
    public void Add(LengthHistogram other)
    {
        for (var i = 0; i < 64; i++)
        {
            _documents[i] += other._documents[i];
            _lengths[i] += other._lengths[i];
        }
        Longest = Math.Max(Longest, other.Longest);
    }

    /// <summary>
    /// The counts as a sequence of numbers: the longest length, then for each bin that is not empty its exponent, documents and length.
    /// </summary>
    internal long[] ToNumbers() =>
        [Longest, .. Enumerable.Range(0, 64).Where(i => _documents[i] > 0).SelectMany(i => (long[])[i, _documents[i], _lengths[i]])];

    /// <summary>Reads what <see cref="ToNumbers"/> wrote; null if the numbers are something else.</summary>
    internal static LengthHistogram? FromNumbers(IReadOnlyList<long>? numbers)
    {
        if (numbers is null || numbers.Count % 3 != 1)
            return null;
        var histogram = new LengthHistogram { Longest = numbers[0] };
        for (var i = 1; i < numbers.Count; i += 3)
        {
            if (numbers[i] is < 0 or > 63)
                return null;
            histogram._documents[numbers[i]] = numbers[i + 1];
            histogram._lengths[numbers[i]] = numbers[i + 2];
        }
        return histogram;
    }
}
