using BenchmarkDotNet.Attributes;
using LongLora.Adapters;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Studies;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

// L tokens, D model size 288, H heads 6, K head size 48, V vocabulary 32000

/// <summary>What is done beside attention and the blocks' products, on 4096 tokens of the small Llama.</summary>
public class LayerBenchmarks
{
    private const int Length = 4096,
        Size = 288,
        Heads = 6;

    private CausalLanguageModel _model = null!;
    private AdapterSet _adapters = null!;
    private ParameterBuffer _parameters = null!;
    private AdamW _optimizer = null!;
    private RotaryEmbedding _positions = null!;
    private RmsNorm _norm = null!;
    private Tensor _hidden = null!,
        _gradient = null!,
        _targets = null!,
        _heads = null!;

    /// <summary>A model, its trained weights, and random activations.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var config = StepBenchmark.CreateSmallLlama(Length);
        _model = ModelLoader.Create(config, seed: 0);
        _adapters = AdapterSet.Attach(_model, new AdapterOptions(), seed: 0);
        _parameters = new ParameterBuffer(_adapters.Weights);
        _optimizer = new AdamW(_parameters, new AdamWOptions());
        _positions = RotaryEmbedding.Create(config, Length);
        _norm = new RmsNorm(new Weight("norm", ones(Size)), config.NormEpsilon);
        _hidden = randn([1, Length, Size]);
        _gradient = randn([1, Length, Size]);
        _targets = randint(0, config.VocabularySize, [Length], ScalarType.Int64);
        _heads = randn([1, Length, Heads, Size / Heads]);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (
            var owned in new IDisposable[]
            {
                _hidden,
                _gradient,
                _targets,
                _heads,
                _norm.Weights[0],
                _positions,
                _optimizer,
                _parameters,
                _adapters,
                _model,
            }
        )
            owned.Dispose();
    }

    /// <summary>RMSNorm, forward.</summary>
    [Benchmark]
    public void RmsNorm()
    {
        using var noGradient = no_grad();
        _norm.Forward(_hidden).Dispose();
    }

    /// <summary>RMSNorm, forward and backward.</summary>
    [Benchmark]
    public void RmsNormBackward()
    {
        using var scope = NewDisposeScope();
        var leaf = _hidden.detach().requires_grad_(true);
        _norm.Forward(leaf).backward([_gradient]);
    }

    /// <summary>Rotary positions of all heads.</summary>
    [Benchmark]
    public void Rotate()
    {
        using var noGradient = no_grad();
        _positions.Rotate(_heads).Dispose();
    }

    /// <summary>Final norm, head and loss with all their gradients; the copy of the input, which is overwritten, included.</summary>
    [Benchmark]
    public void ChunkedCrossEntropyStep()
    {
        using var scope = NewDisposeScope();
        ChunkedCrossEntropy.Run(_model, _hidden.clone(), _targets, 1.0 / Length);
    }

    /// <summary>Norm of the gradients, clipping and the fused AdamW step over 9.3 million parameters.</summary>
    [Benchmark]
    public void AdamWStep() => _optimizer.Step(1e-6, _parameters.ComputeGradientNorm());
}
