using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>What is wrong with some options, collected so that all of it is told at once.</summary>
internal sealed class OptionProblems
{
    private readonly List<string> _problems = [];

    /// <summary>Adds a problem where something does not hold.</summary>
    /// <param name="holds">What must be so.</param>
    /// <param name="problem">The option, its value, and what it may be.</param>
    public void Require(bool holds, string problem)
    {
        if (!holds)
            _problems.Add(problem);
    }

    /// <summary>Checks parts of the options, whatever parts are needed.</summary>
    /// <param name="checks">One for each part, such as <see cref="RunOptions.Check"/>.</param>
    /// <exception cref="ConfigurationException">Lists every problem, one a line.</exception>
    public static void ThrowIfAny(params IEnumerable<Action<OptionProblems>> checks)
    {
        var found = new OptionProblems();
        foreach (var check in checks)
            check(found);
        if (found._problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, found._problems));
    }
}
