using System.Runtime.ExceptionServices;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Generation;

// B answers, D model size, V vocabulary

/// <summary>
/// The next tokens of the answers that a model is generating, computed in one pass over its weights (continuous batching). An answer joins
/// after its prompt is read and leaves at its end; in between, every step waits until all of them ask for their next token. Each answer
/// keeps its own cache.
/// </summary>
/// <remarks>
/// On the CPU at most <see cref="RowProduct.MostRows"/> answers share a pass. For so few rows in fp32, every product is a sum of its own
/// for each row, in the same order as for one row, and every row attends alone. Some operator between them depends on the number of rows
/// all the same: log-probabilities were seen to differ by up to 5e-6 from those of an answer alone.
/// </remarks>
/// <param name="turns">Lets one pass run at a time.</param>
/// <param name="model">The model.</param>
internal sealed class JoinedSteps(ComputeTurns turns, CausalLanguageModel model)
{
    private const int MostOnGpu = 64;

    private readonly object _gate = new();
    private readonly List<Request> _waiting = [];
    private int _members;

    /// <summary>Most answers that one pass has computed.</summary>
    internal int MostTogether { get; private set; }

    /// <summary>Counts an answer in; the others wait for its requests until it leaves.</summary>
    internal void Join()
    {
        lock (_gate)
            _members++;
    }

    /// <summary>Counts an answer out, at its end or while it computes something else.</summary>
    internal void Leave()
    {
        lock (_gate)
        {
            _members--;
            Monitor.PulseAll(_gate); // the others may be complete now
        }
    }

    /// <summary>Computes the logits after one more token of an answer that has joined.</summary>
    /// <param name="token">The token.</param>
    /// <param name="cache">The answer's cache of one row; the token is added.</param>
    /// <param name="positions">Rotary tables.</param>
    /// <param name="textLength">What the tables were made for: tables of the same length are the same.</param>
    /// <returns>[V].</returns>
    internal float[] Step(int token, KeyValueCache cache, RotaryEmbedding positions, int textLength)
    {
        var mine = new Request(token, cache, positions, textLength);
        lock (_gate)
            _waiting.Add(mine);
        while (WaitForTurn(mine) is { } batch)
            Run(batch);
        mine.Failure?.Throw();
        return mine.Logits!;
    }

    // Who finds everybody there computes for all, or for as many as share a pass; null once one's own step is done.
    private List<Request>? WaitForTurn(Request mine)
    {
        lock (_gate)
        {
            while (!mine.IsDone && (mine.IsTaken || _waiting.Count < _members))
                Monitor.Wait(_gate);
            return mine.IsDone ? null : Take();
        }
    }

    // Those that have waited longest first, so that each gets its turn.
    private List<Request> Take()
    {
        var most = model.Device.type == DeviceType.CPU ? RowProduct.MostRows : MostOnGpu;
        var batch = _waiting.Where(r => r.TextLength == _waiting[0].TextLength).Take(most).ToList();
        foreach (var request in batch)
        {
            _waiting.Remove(request);
            request.IsTaken = true;
        }
        return batch;
    }

    private void Run(List<Request> batch)
    {
        try
        {
            var logits = turns.Pass(() => Compute(batch));
            var size = logits.Length / batch.Count;
            for (var i = 0; i < batch.Count; i++)
                batch[i].Logits = logits[(i * size)..((i + 1) * size)];
        }
        catch (Exception e)
        {
            foreach (var request in batch)
                request.Failure = ExceptionDispatchInfo.Capture(e);
        }
        lock (_gate)
        {
            foreach (var request in batch)
                request.IsDone = true;
            MostTogether = Math.Max(MostTogether, batch.Count);
            Monitor.PulseAll(_gate);
        }
    }

    private float[] Compute(List<Request> batch)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var hidden = CachedPass.Step(
            model,
            [.. batch.Select(r => (long)r.Token)],
            [.. batch.Select(r => new CachedRow(r.Cache, 0))],
            batch[0].Positions
        );
        return model.ApplyHead(hidden).to(ScalarType.Float32).cpu().data<float>().ToArray();
    }

    private sealed class Request(int token, KeyValueCache cache, RotaryEmbedding positions, int textLength)
    {
        public int Token { get; } = token;
        public KeyValueCache Cache { get; } = cache;
        public RotaryEmbedding Positions { get; } = positions;
        public int TextLength { get; } = textLength;
        public bool IsTaken { get; set; }
        public bool IsDone { get; set; }
        public float[]? Logits { get; set; }
        public ExceptionDispatchInfo? Failure { get; set; }
    }
}
