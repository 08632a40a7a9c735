using System.Diagnostics;
using LLama;
using LLama.Common;
using LLama.Native;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

/// <summary>
/// Reading a prompt and making tokens, here and in llama.cpp, in one process: the same GGUF file, the same tokens, the same number of
/// threads, by turns. Blocks stay blocks. Each side keeps its defaults otherwise.
/// </summary>
internal static class LlamaCppComparison
{
    private const int Rounds = 3;

    private static readonly GgufFileType[] s_types = [GgufFileType.F32, GgufFileType.Bf16, GgufFileType.Q8_0];

    /// <summary>Prints a line a type: tokens a second of the prompt, milliseconds a token after it, and how many tokens agree.</summary>
    /// <param name="folder">Folder of a Hugging Face model; each file is written from it.</param>
    /// <param name="promptTokens">Tokens of the prompt, drawn at random.</param>
    /// <param name="newTokens">Tokens to make after it, the likeliest each time.</param>
    public static void Run(string folder, int promptTokens, int newTokens)
    {
        NativeLibraryConfig.All.WithLogCallback((_, _) => { });
        var threads = get_num_threads();
        Console.WriteLine(
            $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(folder))}, a prompt of {promptTokens} tokens and {newTokens} after it, "
                + $"{threads} threads; the best of {Rounds} rounds, and the median token of the best"
        );
        Console.WriteLine(
            "type | prompt: llama.cpp, here (tokens/s) | here / llama.cpp | token: llama.cpp, here (ms) | llama.cpp / here | equal tokens"
        );
        var path = Path.Combine(Path.GetTempPath(), $"longlora-{Environment.ProcessId}.gguf");
        foreach (var type in s_types)
            try
            {
                using (var model = LoadedModel.Open(ModelSource.Open(folder)))
                    GgufExporter.Write(path, model, type);
                Compare(path, type, threads, promptTokens, newTokens);
            }
            finally
            {
                File.Delete(path);
            }
    }

    private static void Compare(string path, GgufFileType type, int threads, int promptTokens, int newTokens)
    {
        using var ours = new Here(path, promptTokens + newTokens, type == GgufFileType.Q8_0);
        using var theirs = new LlamaCpp(path, promptTokens + newTokens, threads);
        var random = new Random(0);
        int[] prompt = [.. Enumerable.Range(0, promptTokens).Select(_ => random.Next(ours.VocabularySize))];
        var (best, bestThere) = (new Times(double.MaxValue, double.MaxValue), new Times(double.MaxValue, double.MaxValue));
        var equal = 0;
        for (var round = 0; round < Rounds; round++)
        {
            var (tokens, tokensThere) = (new List<int>(), new List<int>());
            best = best.Best(Time(ours, prompt, newTokens, tokens));
            bestThere = bestThere.Best(Time(theirs, prompt, newTokens, tokensThere));
            equal = tokens.Zip(tokensThere).TakeWhile(pair => pair.First == pair.Second).Count();
        }
        Console.WriteLine(
            $"{type} | {promptTokens / bestThere.Prompt:N0}, {promptTokens / best.Prompt:N0} | {bestThere.Prompt / best.Prompt:F2} | "
                + $"{1000 * bestThere.Token:F1}, {1000 * best.Token:F1} | {bestThere.Token / best.Token:F2} | {equal} of {newTokens}"
        );
    }

    private static Times Time(IEngine engine, int[] prompt, int count, List<int> tokens)
    {
        var watch = Stopwatch.StartNew();
        tokens.Add(engine.Start(prompt));
        var read = watch.Elapsed.TotalSeconds;
        var times = new List<double>();
        while (tokens.Count < count)
        {
            watch.Restart();
            tokens.Add(engine.Next(tokens[^1]));
            times.Add(watch.Elapsed.TotalSeconds);
        }
        return new(read, times.Order().ElementAt(times.Count / 2));
    }

    /// <summary>Seconds.</summary>
    private readonly record struct Times(double Prompt, double Token)
    {
        public Times Best(Times other) => new(Math.Min(Prompt, other.Prompt), Math.Min(Token, other.Token));
    }

    private interface IEngine
    {
        /// <summary>Forgets all, reads a prompt and returns the likeliest token after it.</summary>
        int Start(int[] prompt);

        /// <summary>Reads one token and returns the likeliest after it.</summary>
        int Next(int token);
    }

    private sealed class Here : IEngine, IDisposable
    {
        private const int Chunk = 1024;
        private readonly LoadedModel _model;
        private readonly RotaryEmbedding _positions;
        private readonly KeyValueCache _cache;

        public Here(string path, int context, bool hasBlocks)
        {
            var options = new LoadOptions { Device = "cpu", Quantization = hasBlocks ? QuantizationKind.Keep : QuantizationKind.None };
            _model = LoadedModel.Open(ModelSource.Open(path), options);
            _positions = RotaryEmbedding.Create(_model.Network.Config, context, _model.Network.Device);
            _cache = new(_model.Network, context, 1);
        }

        public int VocabularySize => _model.Network.Config.VocabularySize;

        public int Start(int[] prompt)
        {
            using var scope = NewDisposeScope();
            _cache.Truncate(0, 0);
            long[] ids = [.. prompt];
            Tensor? hidden = null;
            for (var start = 0; start < ids.Length; start += Chunk)
                hidden = CachedPass.Read(_model.Network, ids.AsSpan(start, Math.Min(Chunk, ids.Length - start)), _cache, 0, _positions);
            return Choose(hidden!.narrow(0, hidden.size(0) - 1, 1));
        }

        public int Next(int token)
        {
            using var scope = NewDisposeScope();
            return Choose(CachedPass.Step(_model.Network, [token], _cache, [0], _positions));
        }

        private int Choose(Tensor hidden)
        {
            using var noGradient = no_grad();
            return (int)_model.Network.Head.Forward(hidden).argmax().item<long>();
        }

        public void Dispose()
        {
            _cache.Dispose();
            _positions.Dispose();
            _model.Dispose();
        }
    }

    private sealed class LlamaCpp : IEngine, IDisposable
    {
        private readonly LLamaWeights _weights;
        private readonly LLamaContext _context;
        private readonly LLamaBatch _batch = new();
        private int _length;

        public LlamaCpp(string path, int context, int threads)
        {
            var parameters = new ModelParams(path)
            {
                ContextSize = (uint)context,
                Threads = threads,
                BatchThreads = threads,
            };
            _weights = LLamaWeights.LoadFromFile(parameters);
            _context = _weights.CreateContext(parameters);
        }

        public int Start(int[] prompt)
        {
            _context.NativeHandle.MemoryClear();
            _length = 0;
            var size = (int)_context.BatchSize;
            for (var start = 0; start < prompt.Length; start += size)
                Decode(prompt.AsSpan(start, Math.Min(size, prompt.Length - start)), start + size >= prompt.Length);
            return Choose();
        }

        public int Next(int token)
        {
            Decode([token], true);
            return Choose();
        }

        private void Decode(ReadOnlySpan<int> tokens, bool withLogits)
        {
            _batch.Clear();
            for (var i = 0; i < tokens.Length; i++)
                _batch.Add(tokens[i], _length + i, LLamaSeqId.Zero, withLogits && i == tokens.Length - 1);
            _length += tokens.Length;
            if (_context.NativeHandle.Decode(_batch) is var result and not DecodeResult.Ok)
                throw new InvalidOperationException($"llama.cpp cannot read {tokens.Length} tokens: {result}.");
        }

        private int Choose()
        {
            var logits = _context.NativeHandle.GetLogitsIth(_batch.TokenCount - 1);
            return System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits);
        }

        public void Dispose()
        {
            _context.Dispose();
            _weights.Dispose();
        }
    }
}
