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
    private readonly CausalLanguageModel _model;
    private readonly ParameterBuffer _parameters;
    private readonly AdamW _optimizer;
    private readonly LearningRateSchedule _schedule;
    private readonly IAttention _attention;
    private readonly CheckpointedPass _pass;
    private readonly TrainerOptions _options;
    private readonly PositionTables _positions;

    // Why training cannot go on. What became of the last complete step is added to it when that is known.
    private DataException? _divergence;

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
    }

    /// <summary>
    /// The processes that train together. Each process takes every <see cref="ICommunicator.Size"/>-th micro-batch of a step; targets,
    /// losses and gradients are summed over all processes, in this order.
    /// </summary>
    internal ICommunicator Communicator { get; init; } = SingleProcess.Instance;

    /// <summary>
    /// The ranks that share each text; null if each rank learns from whole texts. Micro-batches then go to groups of so many consecutive
    /// ranks.
    /// </summary>
    internal TextRanks? Texts { get; init; }

    private int RanksPerText => Texts?.Size ?? 1;

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
                var (groups, group) = (Communicator.Size / RanksPerText, Communicator.Rank / RanksPerText);
                var mine = batches.Where((_, i) => i % groups == group).ToList();
                var result = Step(mine, learningRate, cancellation) ?? throw new OperationCanceledException(cancellation);
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
                    Save();
            }
        }
        catch (Exception e)
        {
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
    /// The micro-batches of this process; the loss is the mean over all targets of all processes together.
    /// </param>
    /// <param name="learningRate">Learning rate of this step.</param>
    /// <param name="cancellation">Checked once per micro-batch.</param>
    /// <returns>Mean loss in nats per token and gradient norm before clipping, or null if cancelled: then nothing has changed.</returns>
    internal (double Loss, double GradientNorm)? Step(
        IReadOnlyList<Batch> batches,
        double learningRate,
        CancellationToken cancellation = default
    )
    {
        using var scope = NewDisposeScope();
        var prepared = batches.Select(batch => new TrainingBatch(batch)).ToList();
        // Ranks that share a text know all of its targets.
        var count = SumOverRanks(Communicator.Rank % RanksPerText == 0 ? prepared.Sum(batch => batch.CountTargets()) : 0);
        if (count == 0)
            throw new DataException($"None of the {batches.Count} batches has a token to learn because every label is masked.");
        var lossSum = 0.0;
        foreach (var batch in prepared)
        {
            if (cancellation.IsCancellationRequested)
            {
                _parameters.ClearGradients();
                return null;
            }
            lossSum += AddGradients(batch, 1.0 / count);
        }
        lossSum = SumOverRanks(lossSum);
        Communicator.AllReduce(_parameters.Gradients, Reduction.Sum).Wait();
        if (!double.IsFinite(lossSum))
            throw AbandonStep($"the loss is {lossSum}");
        var norm = _parameters.ComputeGradientNorm();
        if (!double.IsFinite(norm))
            throw AbandonStep($"the gradient norm is {norm}");
        _optimizer.Step(learningRate, norm);
        return (lossSum / count, norm);
    }

    /// <summary>Everything that a resumed run needs to continue as if it had not been interrupted.</summary>
    internal TrainingState CaptureState(BatchSampler sampler) => new(_optimizer, _parameters, sampler.State);

    // The micro-batches of the next step.
    private List<Batch> Draw(BatchSampler sampler)
    {
        var first = _optimizer.Steps * _options.GradientAccumulation;
        var window = RopeScaling.GetOriginalContext(_model.Config);
        return
        [
            .. Enumerable
                .Range(0, _options.GradientAccumulation)
                .Select(i => TrainingBatch.Shorten(sampler.Next(), first + i, _options.ShortShare, window)),
        ];
    }

    // Forward and backward pass of one micro-batch; gives the sum of its losses.
    private double AddGradients(TrainingBatch batch, double scale)
    {
        using var scope = NewDisposeScope();
        var part = Texts?.Divide(batch, _model.Device);
        if (part?.Tokens.Length == 0)
            return 0;
        var (ids, targets) = (batch.MakeIds(_model.Device, part?.Tokens), batch.MakeTargets(_model.Device, part?.Tokens));
        using var positions = batch.ChoosePositions(_positions, _model.Device, part?.Tokens);
        var context = part?.MakeContext(positions) ?? new ForwardContext(_attention, positions, batch.DocumentLengths);
        return _pass.ForwardBackward(ids, targets, context, scale).item<double>();
    }

    private T SumOverRanks<T>(T value)
        where T : unmanaged
    {
        using var sum = from_array(new[] { value });
        Communicator.AllReduce(sum, Reduction.Sum).Wait();
        return sum.data<T>()[0];
    }

    private DataException AbandonStep(string what)
    {
        _parameters.ClearGradients();
        return Diverge($"Training diverged at step {_optimizer.Steps + 1}: {what}.");
    }

    private DataException Diverge(string why) => _divergence = new DataException(why);

    /// <inheritdoc/>
    public void Dispose() => _positions.Dispose();
}
