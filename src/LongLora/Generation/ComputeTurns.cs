using LongLora.Models;

namespace LongLora.Generation;

/// <summary>Who may compute, shared by the models of one program: how many answers run, and one pass through a model at a time.</summary>
/// <param name="parallel">Most answers that are generated at the same time, at least 1.</param>
internal sealed class ComputeTurns(int parallel)
{
    private readonly SemaphoreSlim _places = new(parallel, parallel);
    private readonly Lock _passing = new();
    private readonly Lock _emptying = new();
    private readonly Dictionary<CausalLanguageModel, JoinedSteps> _steps = [];

    /// <summary>Most answers that are generated at the same time.</summary>
    internal int Parallel => parallel;

    /// <summary>Waits for a place of an answer.</summary>
    /// <param name="cancellation">Ends waiting.</param>
    internal Task EnterAsync(CancellationToken cancellation) => _places.WaitAsync(cancellation);

    /// <summary>Gives the place back.</summary>
    internal void Leave() => _places.Release();

    /// <summary>Waits until nothing is generated.</summary>
    internal void WaitUntilEmpty()
    {
        // Two that wait for all places at once would each hold half of them.
        lock (_emptying)
        {
            for (var i = 0; i < parallel; i++)
                _places.Wait();
            _places.Release(parallel);
        }
    }

    /// <summary>
    /// Runs a pass while no other runs: the operators of one pass use all threads already, and two would take them from each other.
    /// </summary>
    internal T Pass<T>(Func<T> pass)
    {
        lock (_passing)
            return pass();
    }

    /// <summary>The steps of a model's answers.</summary>
    internal JoinedSteps StepsOf(CausalLanguageModel model)
    {
        lock (_steps)
        {
            if (!_steps.TryGetValue(model, out var steps))
                _steps[model] = steps = new JoinedSteps(this, model);
            return steps;
        }
    }

    /// <summary>Forgets a model, none of whose answers is generated.</summary>
    internal void Remove(CausalLanguageModel model)
    {
        lock (_steps)
            _steps.Remove(model);
    }
}
