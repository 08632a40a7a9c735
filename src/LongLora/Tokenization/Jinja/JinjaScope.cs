namespace LongLora.Tokenization.Jinja;

/// <summary>The value of a name that nobody set: empty where it is printed or tested, an error where something is asked of it.</summary>
internal sealed class JinjaUndefined(string name)
{
    public string Name => name;
}

/// <summary>What <c>namespace()</c> makes: names that may be set from within loops.</summary>
internal sealed class JinjaNamespace(Dictionary<string, object?> values)
{
    public Dictionary<string, object?> Values => values;
}

/// <summary>Something that can be called: a function of the environment, a macro, or a method of a value.</summary>
internal delegate object? JinjaCall(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named);

/// <summary>Names and their values; a loop or macro has its own, on top of those around it.</summary>
internal sealed class JinjaScope(JinjaScope? parent)
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    /// <summary>Places [start, end) of the output that the template itself marks as the assistant's (<c>generation</c> blocks).</summary>
    public List<(int Start, int End)> Generated { get; } = parent?.Generated ?? [];

    public void Set(string name, object? value) => _values[name] = value;

    public object? Get(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Parent)
        {
            if (scope._values.TryGetValue(name, out var value))
                return value;
        }
        return new JinjaUndefined(name);
    }

    private JinjaScope? Parent => parent;
}
