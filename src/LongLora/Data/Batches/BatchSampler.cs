using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// Divides a corpus into batches. The order depends only on the seed and is the same on every machine and .NET version. Each pass over the
/// corpus has its own order.
/// </summary>
public sealed class BatchSampler
{
    private readonly TokenStore _tokens;
    private readonly int _batchSize;
    private readonly BatchLayout _layout;
    private readonly IReadOnlyList<StoredCorpus> _corpora;
    private readonly UnitOrder _order;

    /// <summary>Creates a sampler at the start of the data.</summary>
    /// <param name="tokens">The corpus.</param>
    /// <param name="context">L, tokens in a sequence.</param>
    /// <param name="batchSize">B, sequences in a batch.</param>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="shuffle">Whether to shuffle; otherwise sequences keep their order.</param>
    /// <param name="layout">How the corpus becomes rows.</param>
    /// <param name="weights">How often each corpus of the store is seen per pass, above 0; null for once each.</param>
    /// <exception cref="DataException">
    /// The corpus, or with weights one of the store's, is shorter than one sequence, or an example is longer.
    /// </exception>
    public BatchSampler(
        TokenStore tokens,
        int context,
        int batchSize,
        long seed,
        bool shuffle = true,
        BatchLayout layout = BatchLayout.Stream,
        IReadOnlyList<double>? weights = null
    )
    {
        (_tokens, Context, _batchSize, _layout) = (tokens, context, batchSize, layout);
        if (weights is not null && weights.Count != tokens.Corpora.Count)
            throw new ConfigurationException(
                $"There are {weights.Count} weights for {tokens.Corpora.Count} corpora with text. Give one weight per corpus."
            );
        // If all weights are equal, the sources form one text, so a sequence can start in one source and end in the next.
        var alike = weights is null || weights.All(w => w == 1);
        _corpora = alike ? [new StoredCorpus(0, tokens.Documents.Count, 0, tokens.Count)] : tokens.Corpora;
        if (!alike)
            RequireUnits();
        _order = new UnitOrder([.. _corpora.Select(CountUnits)], alike ? [1] : weights!, seed, shuffle);
        SequenceCount = _order.CountUnits(0);
        if (SequenceCount == 0)
            throw new DataException(
                $"The data has {tokens.Count} tokens, but one training sequence needs {context}. Add text, or use a smaller context."
            );
        if (layout == BatchLayout.Examples)
            CheckLengths();
    }

    /// <summary>L, tokens in the longest sequence.</summary>
    public int Context { get; }

    /// <summary>Sequences, or examples, in the first pass; passes differ if a weight is not an integer.</summary>
    public long SequenceCount { get; }

    /// <summary>The position of the sampler. Set it to go to another position.</summary>
    public BatchSamplerState State { get; set; }

    /// <summary>Tokens that no pass reads: each corpus is cut into whole sequences, and what is left at its end is shorter.</summary>
    internal long UnreadTokens => _layout == BatchLayout.Examples ? 0 : _corpora.Sum(c => c.Length % Context);

    /// <summary>Passes over the data up to the position, with the part of the last one.</summary>
    internal double Passes => State.Epoch + State.Index / Math.Max(1.0, _order.CountUnits(State.Epoch));

    /// <summary>The next batch.</summary>
    internal Batch Next() => Take(1, _ => true)[0].Batch;

    /// <summary>Draws the next batches in order, and builds only some of them: the state afterwards does not depend on which.</summary>
    /// <param name="count">Batches to draw.</param>
    /// <param name="isMine">Whether to build a batch, by its number from 0.</param>
    internal IReadOnlyList<(int Number, Batch Batch)> Take(int count, Func<int, bool> isMine)
    {
        var taken = new List<(int, Batch)>();
        for (var number = 0; number < count; number++)
        {
            var units = _layout == BatchLayout.Examples ? NextExamples() : [.. Enumerable.Range(0, _batchSize).Select(_ => NextUnit())];
            if (isMine(number))
                taken.Add((number, _layout == BatchLayout.Examples ? Pack(units) : Cut(units)));
        }
        return taken;
    }

    private long CountUnits(StoredCorpus corpus) => _layout == BatchLayout.Examples ? corpus.DocumentCount : corpus.Length / Context;

    // Sequences of corpora with weights do not cross their borders.
    private void RequireUnits()
    {
        foreach (var corpus in _corpora.Where(c => CountUnits(c) == 0))
        {
            var first = _tokens.Documents[corpus.FirstDocument].Origin;
            throw new DataException(
                $"Cannot use weights because the data {(corpus.DocumentCount == 1 ? "of" : "that begins with")} '{first}' has "
                    + $"{corpus.Length:N0} tokens, fewer than one sequence of {Context:N0}, so nothing of it would be learned. Put it into "
                    + "one folder with other data of the same weight, name it several times instead of giving weights, or use a smaller "
                    + "context."
            );
        }
    }

    private Batch Cut(List<(int Corpus, long Unit)> sequences)
    {
        var starts = sequences.ConvertAll(s => _corpora[s.Corpus].Start + s.Unit * Context);
        var ids = new long[starts.Count * Context];
        var labels = _tokens.HasLabels ? new long[ids.Length] : null;
        for (var row = 0; row < starts.Count; row++)
        {
            _tokens.CopyTo(starts[row], ids.AsSpan(row * Context, Context));
            if (labels is not null)
                _tokens.CopyLabels(starts[row], labels.AsSpan(row * Context, Context));
        }
        return new Batch(ids, labels, starts.Count, Context, _layout == BatchLayout.Documents ? starts.ConvertAll(MeasureDocuments) : null);
    }

    // Documents of a sequence; each has the separator that ends it.
    private IReadOnlyList<int> MeasureDocuments(long start)
    {
        var lengths = new List<int>();
        var end = start + Context;
        for (int document = _tokens.FindDocument(start) + 1; start < end; document++)
        {
            var next = document < _tokens.Documents.Count ? Math.Min(end, _tokens.Documents[document].Start) : end;
            if (next > start)
                lengths.Add((int)(next - start));
            start = next;
        }
        return lengths;
    }

    // As many examples as fit; the first one that does not fit starts the next row.
    private List<(int, long)> NextExamples()
    {
        var taken = new List<(int, long)>();
        var room = (long)_batchSize * Context;
        while (true)
        {
            var before = State;
            var (corpus, unit) = NextUnit();
            var length = FindDocument(corpus, unit).Length;
            if (length > room)
            {
                State = before;
                return taken;
            }
            taken.Add((corpus, unit));
            room -= length;
        }
    }

    private Batch Pack(List<(int Corpus, long Unit)> examples)
    {
        var documents = examples.ConvertAll(e => FindDocument(e.Corpus, e.Unit));
        var lengths = documents.ConvertAll(d => (int)d.Length);
        var ids = new long[lengths.Sum()];
        var labels = new long[ids.Length];
        var at = 0;
        foreach (var document in documents)
        {
            _tokens.CopyTo(document.Start, ids.AsSpan(at, (int)document.Length));
            _tokens.CopyLabels(document.Start, labels.AsSpan(at, (int)document.Length));
            at += (int)document.Length;
        }
        return new Batch(ids, labels, 1, ids.Length, [lengths]) { Context = Context };
    }

    private StoredDocument FindDocument(int corpus, long unit) => _tokens.Documents[_corpora[corpus].FirstDocument + (int)unit];

    private (int Corpus, long Unit) NextUnit()
    {
        var state = State;
        while (state.Index >= _order.CountUnits(state.Epoch))
            state = state with { Epoch = state.Epoch + 1, Index = 0 };
        State = state with { Index = state.Index + 1 };
        return _order.FindUnit(state.Epoch, state.Index);
    }

    private void CheckLengths()
    {
        foreach (var document in _tokens.Documents)
        {
            if (document.Length > Context)
                throw new DataException(
                    $"{document.Origin}: the example has {document.Length} tokens, but a row holds {Context}. Shorten it, or use a "
                        + "larger context."
                );
        }
    }
}
