namespace LongLora.Tokenization.Jinja;

/// <summary>The value of an undefined name. It is empty if printed or tested, and an error if a member of it is used.</summary>
internal sealed class JinjaUndefined(string name)
{
    public string Name => name;
}

/// <summary>The result of <c>namespace()</c>: names that can be set from within loops.</summary>
internal sealed class JinjaNamespace(Dictionary<string, object?> values)
{
    public Dictionary<string, object?> Values => values;
}

/// <summary>Something callable: a function of the environment, a macro, or a method of a value.</summary>
internal delegate object? JinjaCall(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named);

/// <summary>Names and their values. A loop or macro has its own scope on top of the outer ones.</summary>
internal sealed class JinjaScope(JinjaScope? parent)
{
    private readonly Dictionary<string, object?> _values = new(StringComparer.Ordinal);

    /// <summary>Spans [start, end) of the output that the template itself marks as the assistant's (<c>generation</c> blocks).</summary>
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
