using System.Diagnostics;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The training loop: batches in, optimizer steps out. It knows no file: <see cref="TrainingState"/> is handed to whoever saves.
/// </summary>
public sealed class Trainer : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly ParameterBuffer _parameters;
    private readonly AdamW _optimizer;
    private readonly LearningRateSchedule _schedule;
    private readonly IAttention _attention;
    private readonly CheckpointedBackward _pass;
    private readonly TrainerOptions _options;
    private readonly Dictionary<int, RotaryEmbedding> _positions = [];

    /// <summary>Puts the parts together.</summary>
    /// <param name="model">The model with its adapters attached.</param>
    /// <param name="parameters">What is trained.</param>
    /// <param name="optimizer">Steps the parameters.</param>
    /// <param name="schedule">Learning-rate factor by step.</param>
    /// <param name="attention">Attention while training.</param>
    /// <param name="pass">Forward and backward.</param>
    /// <param name="options">Steps, accumulation, learning rate, saving.</param>
    public Trainer(
        CausalLanguageModel model,
        ParameterBuffer parameters,
        AdamW optimizer,
        LearningRateSchedule schedule,
        IAttention attention,
        CheckpointedBackward pass,
        TrainerOptions options
    ) =>
        (_model, _parameters, _optimizer, _schedule, _attention, _pass, _options) = (
            model,
            parameters,
            optimizer,
            schedule,
            attention,
            pass,
            options
        );

    /// <summary>Runs from the optimizer's step to the last one.</summary>
    /// <param name="sampler">Gives the batches; its position moves on only with whole steps.</param>
    /// <param name="save">
    /// Called with the state at the end of a step that is to be kept, and with that of the last whole step when the run ends early.
    /// </param>
    /// <param name="progress">Told of every step.</param>
    /// <param name="cancellation">Looked at once a micro-batch; a step that is cut short leaves no trace.</param>
    /// <exception cref="OperationCanceledException">The run was interrupted; its state was saved.</exception>
    /// <exception cref="DataException">Loss or gradients are not finite; the state of the step before was saved.</exception>
    public void Run(
        BatchSampler sampler,
        Action<TrainingState> save,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellation = default
    )
    {
        var clock = Stopwatch.StartNew();
        var (saved, done, place) = (_optimizer.Steps, _optimizer.Steps, sampler.State);
        try
        {
            while (_optimizer.Steps < _options.Steps)
            {
                (done, place) = (_optimizer.Steps, sampler.State);
                var watch = Stopwatch.StartNew();
                var batches = Enumerable
                    .Range(0, _options.GradientAccumulation)
                    .Select(i => MakeShort(sampler.Next(), _optimizer.Steps * _options.GradientAccumulation + i))
                    .ToList();
                var learningRate = _options.LearningRate * _schedule.Factor(_optimizer.Steps);
                var result = Step(batches, learningRate, cancellation) ?? throw new OperationCanceledException(cancellation);
                var step = (int)_optimizer.Steps;
                var tokens = batches.Sum(b => (long)b.BatchSize * b.Length);
                sampler.State = sampler.State with { Tokens = sampler.State.Tokens + tokens };
                progress?.Report(
                    new TrainingStep
                    {
                        Step = step,
                        Steps = _options.Steps,
                        Loss = result.Loss,
                        LearningRate = learningRate,
                        GradientNorm = result.GradientNorm,
                        Tokens = sampler.State.Tokens,
                        TokensPerSecond = tokens / watch.Elapsed.TotalSeconds,
                        Elapsed = clock.Elapsed,
                        MemoryBytes = MemoryMeter.GetCurrentBytes(_model.Device),
                        PeakMemoryBytes = MemoryMeter.GetPeakBytes(_model.Device),
                    }
                );
                if (step == _options.Steps || (_options.SaveEvery > 0 && step % _options.SaveEvery == 0))
                {
                    save(State(sampler));
                    saved = step;
                }
            }
        }
        catch (Exception e)
        {
            // Whatever it was, the last whole step is not lost. A step that was begun gives its batches back.
            if (_optimizer.Steps == done)
                sampler.State = place;
            if (saved != _optimizer.Steps || (saved == 0 && e is OperationCanceledException))
                save(State(sampler));
            throw;
        }
    }

    /// <summary>One optimizer step over the sum of some micro-batches.</summary>
    /// <param name="batches">The micro-batches; the loss is the mean over all their targets together.</param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="cancellation">Looked at once a micro-batch.</param>
    /// <returns>Mean loss in nats a token and gradient norm before clipping, or null if cancelled: then nothing has changed.</returns>
    public (double Loss, double GradientNorm)? Step(
        IReadOnlyList<Batch> batches,
        double learningRate,
        CancellationToken cancellation = default
    )
    {
        using var scope = NewDisposeScope();
        var targets = batches.Select(Targets).ToList();
        var count = targets.Sum(t => t.LongCount(x => x >= 0));
        if (count == 0)
            throw new DataException($"{batches.Count} batches hold no token to learn: every label is masked.");
        var lossSum = 0.0;
        for (var i = 0; i < batches.Count; i++)
        {
            if (cancellation.IsCancellationRequested)
            {
                _parameters.ClearGradients();
                return null;
            }
            using var inner = NewDisposeScope();
            var ids = tensor(batches[i].InputIds, [batches[i].BatchSize, batches[i].Length], device: _model.Device);
            var labels = tensor(targets[i], device: _model.Device);
            using var positions = Positions(batches[i]);
            var context = new ForwardContext(_attention, positions, batches[i].DocumentLengths);
            lossSum += _pass.Run(ids, labels, context, 1.0 / count).item<double>();
        }
        if (!double.IsFinite(lossSum))
            throw Divergence($"the loss is {lossSum}");
        var norm = _parameters.GradientNorm();
        if (!double.IsFinite(norm))
            throw Divergence($"the gradient norm is {norm}");
        _optimizer.Step(learningRate, norm);
        return (lossSum / count, norm);
    }

    /// <summary>Everything that a later run needs to go on as if there had been no break.</summary>
    public TrainingState State(BatchSampler sampler) => new(_optimizer, _parameters, sampler.State);

    // Label t is the target of position t - 1; the last position of a document has none.
    private static long[] Targets(Batch batch)
    {
        var labels = batch.Labels ?? batch.InputIds;
        var targets = new long[labels.Length];
        for (var row = 0; row < batch.BatchSize; row++)
        {
            var start = row * batch.Length;
            labels.AsSpan(start + 1, batch.Length - 1).CopyTo(targets.AsSpan(start));
            targets[start + batch.Length - 1] = TrainingExample.IgnoredLabel;
            var end = 0;
            foreach (var length in batch.DocumentLengths?[row] ?? [])
            {
                end += length;
                if (end > 0)
                    targets[start + end - 1] = TrainingExample.IgnoredLabel;
            }
        }
        return targets;
    }

    // Which micro-batches of a run are short depends on their number alone: evenly spread, and the same after a resume.
    private Batch MakeShort(Batch batch, long number) =>
        Math.Floor((number + 1) * _options.ShortShare) > Math.Floor(number * _options.ShortShare)
            ? batch.Cut(RopeScaling.GetOriginalContext(_model.Config))
            : batch;

    // Positions are scaled for the context that the run trains for, not for a row's length, and begin at 0 in each document. Where the
    // scaling depends on the length of the text, documents that fit into the original context have its positions, as at inference.
    private RotaryEmbedding Positions(Batch batch)
    {
        if (batch.DocumentLengths is null)
            return Tables(batch.Context).Narrow(0, batch.Length);
        var original = RopeScaling.GetOriginalContext(_model.Config);
        var isMixed = RopeScaling.DependsOnLength(_model.Config) && original < batch.Context;
        var places = new long[batch.InputIds.Length];
        var at = 0;
        foreach (var length in batch.DocumentLengths.SelectMany(row => row))
        {
            var first = isMixed && length > original ? original : 0;
            for (var i = 0; i < length; i++)
                places[at++] = first + i;
        }
        using var chosen = tensor(places, [batch.BatchSize, batch.Length], device: _model.Device);
        if (!isMixed)
            return Tables(batch.Context).At(chosen);
        using var both = RotaryEmbedding.Join(Tables(original), Tables(batch.Context));
        return both.At(chosen);
    }

    private RotaryEmbedding Tables(int context)
    {
        if (!_positions.TryGetValue(context, out var tables))
            _positions[context] = tables = RotaryEmbedding.Create(_model.Config, context, _model.Device);
        return tables;
    }

    private DataException Divergence(string what)
    {
        _parameters.ClearGradients();
        return new DataException(
            $"Training diverged at step {_optimizer.Steps + 1}: {what}. The state of step {_optimizer.Steps} is sound and is saved. "
                + "Begin again with a lower learning rate or a longer warm-up, or look for damaged text."
        );
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tables in _positions.Values)
            tables.Dispose();
    }
}
