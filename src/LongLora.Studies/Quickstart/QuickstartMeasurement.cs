using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using LongLora.Training;

namespace LongLora.Studies;

/// <summary>
/// Measures pass keys and perplexity at several lengths, with the same questions and the same text for each state of a model.
/// </summary>
internal sealed class QuickstartMeasurement : IDisposable
{
    private const int TestTokens = 24_000;

    private readonly QuickstartOptions _options;
    private readonly ITokenizer _tokenizer;
    private readonly TokenStore _text;
    private readonly int[] _lengths;
    private readonly Dictionary<int, IReadOnlyList<(int, RetrievalCase)>> _questions;
    private readonly IProgress<string>? _told;
    private readonly CancellationToken _cancellation;

    internal QuickstartMeasurement(
        QuickstartOptions options,
        ITokenizer tokenizer,
        IExampleSource text,
        int[] lengths,
        IProgress<string>? told,
        CancellationToken cancellation
    )
    {
        (_options, _tokenizer, _lengths, _told, _cancellation) = (options, tokenizer, lengths, told, cancellation);
        _text = TokenStore.Build(text, tokenizer.EosTokenId, TestTokens, cancellation);
        _questions = lengths.ToDictionary(
            length => length,
            length =>
                RetrievalEvaluation.MakeQuestions(
                    new PasskeyTask(),
                    tokenizer,
                    length,
                    options.Trials,
                    options.Seed,
                    cancellation: cancellation
                )
        );
    }

    /// <summary>Measures one state.</summary>
    /// <param name="state">How the model is opened: unchanged, with rescaled positions, or with an adapter.</param>
    /// <param name="same">
    /// Measures of the same weights, which are reused where positions are the same: within the original context if scaling is by length.
    /// </param>
    internal IReadOnlyList<LengthMeasure> Run(LoadOptions state, IReadOnlyList<LengthMeasure>? same = null)
    {
        using var loaded = LoadedModel.Open(_options.Model, state with { Device = "cpu", Compute = ComputePrecision.Fp32 });
        var (model, config) = (loaded.Network, loaded.Config);
        var measures = new List<LengthMeasure>();
        foreach (var length in _lengths)
        {
            var isKnown = same is not null && RopeScaling.DependsOnLength(config) && length <= RopeScaling.GetOriginalContext(config);
            var measure = isKnown ? same!.First(m => m.Length == length) : Measure(model, length, loaded.EndTokens);
            measures.Add(measure);
            if (!isKnown)
                _told?.Report($"  {length, 6:N0} tokens: pass key {measure.PassKey, 4:P0}, perplexity {measure.Perplexity:F2}");
        }
        return measures;
    }

    private LengthMeasure Measure(CausalLanguageModel model, int length, IReadOnlyList<int> ends) =>
        new(
            length,
            Perplexity
                .Evaluate(
                    model,
                    _text,
                    length,
                    PerplexityProtocol.LongLora,
                    Math.Max(length, 512),
                    new FullAttention(),
                    null,
                    _cancellation
                )
                .Perplexity,
            RetrievalEvaluation
                .Ask(model, _tokenizer, new PasskeyTask(), _questions[length], length, ends: ends, cancellation: _cancellation)
                .Accuracy
        );

    /// <summary>Estimates the total time from that of the first state.</summary>
    /// <param name="first">Time for the first state.</param>
    /// <param name="config">The model.</param>
    /// <param name="training">The options of the training.</param>
    internal TimeSpan EstimateWhole(TimeSpan first, ModelConfig config, FineTuneOptions training)
    {
        var reading = new AdapterOptions
        {
            Rank = 0,
            TrainEmbeddings = false,
            TrainNorms = false,
        };
        double CountForward(int length) => StepFlops.Count(config, new FullAttention(), reading, length).Forward;
        // Pass keys process two thirds of a prompt on average, because the rest is shared with the previous one.
        var measured = _lengths.Sum(length => CountForward(length) * (2.0 / 3 * _options.Trials + (double)TestTokens / length));
        var step = StepFlops.Count(
            config,
            training.Method.MakeAttention(training.Model.Context),
            training.Method.MakeAdapterOptions(),
            training.Model.Context
        );
        var trained = (double)training.Optimizer.Steps * training.Optimizer.GradientAccumulation * (step.Needed + step.Recomputed);
        return first * (3 + trained / measured);
    }

    /// <inheritdoc/>
    public void Dispose() => _text.Dispose();
}
