using LLama;
using LLama.Common;
using LLama.Native;
using static TorchSharp.torch;

namespace LongLora.LlamaCpp.Tests;

/// <summary>A GGUF file in llama.cpp on the CPU, with keys and values in fp32.</summary>
internal sealed class Engine : IDisposable
{
    private readonly ModelParams _parameters;
    private readonly LLamaWeights _weights;
    private readonly string? _adapter;

    static Engine() =>
        NativeLibraryConfig.All.WithLogCallback(
            (level, text) =>
            {
                if (level is LLamaLogLevel.Error or LLamaLogLevel.Warning)
                    Log.Add(text.TrimEnd());
            }
        );

    /// <summary>Opens a file, with an adapter or without.</summary>
    public Engine(string path, int context, string? adapter = null)
    {
        _parameters = new ModelParams(path)
        {
            ContextSize = (uint)context,
            BatchSize = (uint)context,
            UBatchSize = (uint)context,
            Threads = 1,
            BatchThreads = 1,
            TypeK = GGMLType.GGML_TYPE_F32,
            TypeV = GGMLType.GGML_TYPE_F32,
            FlashAttention = false,
            // Below 0: as the file says.
            YarnBetaFast = -1,
            YarnBetaSlow = -1,
            YarnAttentionFactor = -1,
        };
        try
        {
            _weights = LLamaWeights.LoadFromFile(_parameters);
        }
        catch (LLama.Exceptions.LoadWeightsFailedException e)
        {
            throw new InvalidOperationException(string.Join('\n', Log.TakeLast(4)), e);
        }
        _adapter = adapter;
    }

    /// <summary>What the engine warned of.</summary>
    public static List<string> Log { get; } = [];

    /// <summary>The model's metadata, as text.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _weights.Metadata;

    /// <summary>The engine's own tokens of a text.</summary>
    public int[] Tokens(string text, bool addSpecial = false, bool parseSpecial = false) =>
        [.. _weights.NativeHandle.Tokenize(text, addSpecial, parseSpecial, System.Text.Encoding.UTF8).Select(t => (int)t)];

    /// <summary>Logits after each token: [L] -> [L, V].</summary>
    public Tensor Logits(IReadOnlyList<int> ids)
    {
        using var context = Context();
        var batch = new LLamaBatch();
        foreach (var (place, id) in ids.Index())
            batch.Add(id, place, LLamaSeqId.Zero, true);
        Assert.Equal(DecodeResult.Ok, context.Decode(batch));
        var vocabulary = _weights.Vocab.Count;
        var rows = new float[ids.Count * vocabulary];
        for (var i = 0; i < ids.Count; i++)
            context.NativeHandle.GetLogitsIth(i).CopyTo(rows.AsSpan(i * vocabulary));
        return tensor(rows).reshape(ids.Count, vocabulary);
    }

    /// <summary>The likeliest tokens after some tokens, one by one.</summary>
    public List<int> Greedy(IReadOnlyList<int> ids, int count)
    {
        using var context = Context();
        var answer = new List<int>();
        var batch = new LLamaBatch();
        foreach (var (place, id) in ids.Index())
            batch.Add(id, place, LLamaSeqId.Zero, place == ids.Count - 1);
        while (answer.Count < count)
        {
            Assert.Equal(DecodeResult.Ok, context.Decode(batch));
            var logits = context.NativeHandle.GetLogitsIth(batch.TokenCount - 1);
            var best = 0;
            for (var i = 1; i < logits.Length; i++)
                best = logits[i] > logits[best] ? i : best;
            answer.Add(best);
            batch.Clear();
            batch.Add(best, ids.Count + answer.Count - 1, LLamaSeqId.Zero, true);
        }
        return answer;
    }

    public void Dispose() => _weights.Dispose();

    private LLamaContext Context()
    {
        var context = _weights.CreateContext(_parameters);
        if (_adapter is not null)
            context.NativeHandle.SetLoraAdapters([(_weights.NativeHandle.LoadLoraFromFile(_adapter), 1f)]);
        return context;
    }
}
