using System.Diagnostics;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The training loop: batches in, optimizer steps out. It does not touch files: <see cref="TrainingState"/> is passed to the code that
/// saves.
/// </summary>
public sealed class Trainer : IDisposable
{
    private static readonly TimeSpan s_longestFirstStep = TimeSpan.FromMinutes(10);

    private readonly CausalLanguageModel _model;
    private readonly ParameterBuffer _parameters;
    private readonly AdamW _optimizer;
    private readonly LearningRateSchedule _schedule;
    private readonly IAttention _attention;
    private readonly CheckpointedPass _pass;
    private readonly TrainerOptions _options;
    private readonly PositionTables _positions;
    private readonly long _firstStep;

    private readonly Lazy<GradientSum> _sum;

    // Why training cannot go on. What became of the last complete step is added to it when that is known.
    private DataException? _divergence;

    // What all ranks throw at the same place, so that they can still save together.
    private Exception? _common;

    /// <summary>Combines the parts of a training run.</summary>
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
        CheckpointedPass pass,
        TrainerOptions options
    )
    {
        (_model, _parameters, _optimizer, _schedule) = (model, parameters, optimizer, schedule);
        (_attention, _pass, _options, _positions) = (attention, pass, options, new PositionTables(model));
        _firstStep = optimizer.Steps;
        _sum = new(() => new GradientSum(parameters, Ranks.Communicator, optimizer.Shards, IsExact));
    }

    /// <summary>Allocates the sums of gradients, which the first step does otherwise, before memory is measured.</summary>
    internal void Prepare() => _ = _sum.Value;

    /// <summary>The ranks that train together. Default one process.</summary>
    internal TrainingRanks Ranks { get; init; } = TrainingRanks.One;

    /// <summary>
    /// Whether the gradients of micro-batches are added as whole numbers, so that the sum does not depend on the ranks. Default true.
    /// </summary>
    internal bool IsExact { get; init; } = true;

    /// <summary>The ranks that share this rank's texts; null if it has whole ones.</summary>
    internal TextRanks? Texts { get; init; }

    /// <summary>Decides which steps are skipped.</summary>
    internal SpikeGuard Spikes { get; init; } = new(0);

    /// <summary>Runs from the optimizer's step to the last one.</summary>
    /// <param name="sampler">Gives the batches; its position moves on only with whole steps.</param>
    /// <param name="save">
    /// Called with the state after each step that should be saved, and with that of the last complete step if the run ends early.
    /// </param>
    /// <param name="progress">Receives every step.</param>
    /// <param name="cancellation">Checked once per micro-batch; an unfinished step has no effect.</param>
    /// <exception cref="OperationCanceledException">The run was interrupted; its state was saved.</exception>
    /// <exception cref="DataException">
    /// Loss, gradients or weights are not finite; the message says which state was saved.
    /// </exception>
    public void Run(
        BatchSampler sampler,
        Action<TrainingState> save,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellation = default
    )
    {
        var clock = Stopwatch.StartNew();
        var (saved, done, place) = (_optimizer.Steps, _optimizer.Steps, sampler.State);
        void Save()
        {
            var state = CaptureState(sampler);
            if (state.CountNotFinite() is > 0 and var bad)
                throw Diverge($"Training diverged at step {state.Step}: {bad:N0} of {state.Count:N0} weights and moments are not finite.");
            save(state);
            saved = state.Step;
        }
        try
        {
            while (_optimizer.Steps < _options.Steps)
            {
                (done, place) = (_optimizer.Steps, sampler.State);
                var watch = Stopwatch.StartNew();
                var batches = Draw(sampler);
                var learningRate = _options.LearningRate * _schedule.GetFactor(_optimizer.Steps);
                var skipped = _optimizer.Skipped;
                var result = Step(batches, learningRate, cancellation) ?? throw Together(new OperationCanceledException(cancellation));
                HostMemory.TrimAfterStep();
                var step = (int)_optimizer.Steps;
                sampler.State = sampler.State with { Tokens = sampler.State.Tokens + result.Tokens };
                var memory = Ranks.Max(MemoryMeter.GetCurrentBytes(_model.Device), MemoryMeter.GetPeakBytes(_model.Device));
                progress?.Report(
                    new TrainingStep
                    {
                        Step = step,
                        Steps = _options.Steps,
                        Loss = result.Loss,
                        LearningRate = learningRate,
                        GradientNorm = result.GradientNorm,
                        IsSkipped = _optimizer.Skipped > skipped,
                        Tokens = sampler.State.Tokens,
                        TokensPerSecond = result.Tokens / watch.Elapsed.TotalSeconds,
                        Elapsed = clock.Elapsed,
                        MemoryBytes = memory[0],
                        PeakMemoryBytes = memory[1],
                    }
                );
                if (step == _options.Steps || (_options.SaveEvery > 0 && step % _options.SaveEvery == 0))
                    Save();
            }
        }
        catch (Exception e)
        {
            // What happened to one rank alone ends the job: the others do not come here.
            if (e != _common && Ranks.Communicator.Size > 1)
                throw;
            // Whatever happened, the last complete step is not lost. An unfinished step returns its batches.
            if (_optimizer.Steps == done)
                sampler.State = place;
            var canBeSaved = CaptureState(sampler).CountNotFinite() == 0;
            if ((canBeSaved && saved != _optimizer.Steps) || (_optimizer.Steps == 0 && e is OperationCanceledException))
                Save();
            if (e != _divergence && (canBeSaved || e is not OperationCanceledException))
                throw;
            throw new DataException($"{(e == _divergence ? e.Message : "Interrupted.")} {DescribeSaved(saved, canBeSaved)}", e);
        }
    }

    // Says of a state that it is there only if it is.
    private string DescribeSaved(long saved, bool isSound)
    {
        const string advice = "Start again with a lower learning rate or a longer warm-up, or check the data for damaged text.";
        var found = (_optimizer.Steps, isSound) switch
        {
            (0, true) => "No step was completed, so nothing was saved.",
            (var step, true) => $"The state of step {step} is finite and was saved.",
            (var step, false) => $"The state of step {step} is not sound and was not saved. "
                + (saved > 0 ? $"The newest saved state is that of step {saved}." : "No earlier state was saved."),
        };
        return $"{found} {advice}";
    }

    /// <summary>One optimizer step over the sum of some micro-batches.</summary>
    /// <param name="batches">
    /// The micro-batches of this rank in order: the loss is the mean over all targets of all ranks together.
    /// </param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="cancellation">Checked once per micro-batch; if any rank is canceled, all stop after the same one.</param>
    /// <returns>Loss, gradient norm and tokens, or null if canceled: then nothing has changed.</returns>
    internal StepOutcome? Step(IReadOnlyList<Batch> batches, double learningRate, CancellationToken cancellation = default)
    {
        using var scope = NewDisposeScope();
        using var phase = _optimizer.Steps == _firstStep ? Ranks.Communicator.Phase("taking the first step", s_longestFirstStep) : null;
        using var lesson = Liveness.Learn();
        var prepared = batches.Select(batch => new TrainingBatch(batch)).ToList();
        var counts = Ranks.Sum(prepared.Sum(b => b.CountTargets()), batches.Sum(b => (long)b.BatchSize * b.Length), batches.Count);
        var (targets, tokens, microBatches) = (counts[0], counts[1], (int)counts[2]);
        if (targets == 0)
            throw Together(new DataException($"None of the {microBatches} batches has a token to learn because every label is masked."));
        // The loss of each part of each micro-batch, and how many ranks cannot add their gradients.
        var sums = new double[microBatches * Ranks.Parts + 1];
        for (var round = 0; round * Ranks.DataCount < microBatches; round++)
        {
            if (Ranks.Communicator.IsAny(cancellation.IsCancellationRequested))
            {
                _sum.Value.Clear();
                return null;
            }
            var mine = round < prepared.Count ? prepared[round] : null;
            if (mine is null)
                _pass.Accompany();
            else
                sums[(round * Ranks.DataCount + Ranks.DataRank) * Ranks.Parts + Ranks.Part] = AddGradients(mine, 1.0 / targets);
            if (!_sum.Value.EndRound(mine is not null, ExactSum.Limit(sums.Length - 1)))
                sums[^1]++;
        }
        return Finish(Ranks.Sum(sums), targets, tokens, learningRate);
    }

    // Adds up what the ranks have found, in the same order on all of them, and steps.
    private StepOutcome Finish(double[] sums, long targets, long tokens, double learningRate)
    {
        var loss = sums.SkipLast(1).Sum();
        if (!double.IsFinite(loss))
            throw AbandonStep($"the loss is {loss}");
        if (sums[^1] > 0)
            throw AbandonStep($"a gradient is not finite, or is not below {ExactSum.Limit(1):0} in all");
        _sum.Value.Finish();
        var norm = _parameters.ComputeGradientNorm(_optimizer.Shards);
        if (!double.IsFinite(norm))
            throw AbandonStep($"the gradient norm is {norm}");
        if (Spikes.IsSpike(norm))
            _optimizer.Skip();
        else
            _optimizer.Step(learningRate, norm);
        return new(loss / targets, norm) { Tokens = tokens };
    }

    /// <summary>Everything that a resumed run needs to continue as if it had not been interrupted.</summary>
    internal TrainingState CaptureState(BatchSampler sampler) => new(_optimizer, _parameters, sampler.State) { Spikes = Spikes };

    // This rank's micro-batches of the next step.
    private List<Batch> Draw(BatchSampler sampler)
    {
        var first = _optimizer.Steps * _options.GradientAccumulation;
        var window = RopeScaling.GetOriginalContext(_model.Config);
        return
        [
            .. sampler
                .Take(_options.GradientAccumulation, Ranks.Has)
                .Select(b => TrainingBatch.Shorten(b.Batch, first + b.Number, _options.ShortShare, window)),
        ];
    }

    // Forward and backward pass of one micro-batch; gives the sum of its losses.
    private double AddGradients(TrainingBatch batch, double scale)
    {
        using var scope = NewDisposeScope();
        var part = Texts?.Divide(batch, _model.Device);
        if (part?.Tokens.Length == 0)
        {
            _pass.Accompany();
            return 0;
        }
        var (ids, targets) = (batch.MakeIds(_model.Device, part?.Tokens), batch.MakeTargets(_model.Device, part?.Tokens));
        using var positions = batch.ChoosePositions(_positions, _model.Device, part?.Tokens);
        var context = part?.MakeContext(positions) ?? new ForwardContext(_attention, positions, batch.DocumentLengths);
        return _pass.ForwardBackward(ids, targets, context, scale).item<double>();
    }

    private DataException AbandonStep(string what)
    {
        _sum.Value.Clear();
        return Diverge($"Training diverged at step {_optimizer.Steps + 1}: {what}.");
    }

    private DataException Diverge(string why) => _divergence = Together(new DataException(why));

    private T Together<T>(T error)
        where T : Exception
    {
        _common = error;
        return error;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _positions.Dispose();
        if (_sum.IsValueCreated)
            _sum.Value.Dispose();
    }
}
