namespace LongLora.Runtime;

/// <summary>Collects the problems of some options, to report all of them at once.</summary>
internal sealed class OptionProblems
{
    private readonly List<string> _problems = [];

    /// <summary>Adds a problem if a condition does not hold.</summary>
    /// <param name="holds">The condition.</param>
    /// <param name="problem">The option, its value, and the allowed values.</param>
    public void Require(bool holds, string problem)
    {
        if (!holds)
            _problems.Add(problem);
    }

    /// <summary>Checks some parts of the options.</summary>
    /// <param name="checks">One for each part, such as the Check of RunOptions.</param>
    /// <exception cref="ConfigurationException">Lists every problem, one per line.</exception>
    public static void ThrowIfAny(params IEnumerable<Action<OptionProblems>> checks)
    {
        var found = new OptionProblems();
        foreach (var check in checks)
            check(found);
        if (found._problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, found._problems));
    }
}
