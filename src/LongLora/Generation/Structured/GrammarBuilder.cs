namespace LongLora.Generation.Structured;

/// <summary>Makes the graph of a grammar.</summary>
internal sealed class GrammarBuilder
{
    // Far above what a schema in use needs, and a bound on what a hostile one costs.
    private const int MostNodes = 400_000;
    private readonly List<GrammarNode> _nodes = [];
    private readonly List<GrammarRule> _rules = [];

    /// <summary>A new rule, to be defined once.</summary>
    internal GrammarRule NewRule(string name, bool isContainer = false)
    {
        var rule = new GrammarRule(name, isContainer);
        _rules.Add(rule);
        return rule;
    }

    internal GrammarRule NewRule(string name, GrammarExpression body)
    {
        var rule = NewRule(name);
        Define(rule, body);
        return rule;
    }

    internal void Define(GrammarRule rule, GrammarExpression body) => rule.Start = Emit(body, Return());

    /// <summary>The end of a rule.</summary>
    internal int Return() => Add(new GrammarNode(GrammarStep.Return));

    /// <summary>A node where the text goes on at any of several others, which may be added later.</summary>
    internal int Split(params IEnumerable<int> choices) => Add(new GrammarNode(GrammarStep.Split) { Choices = [.. choices] });

    internal void AddChoice(int split, int choice) => _nodes[split].Choices.Add(choice);

    internal int Byte(ByteSet set, int next) => Add(new GrammarNode(GrammarStep.Byte, set, next));

    /// <summary>The first node of an expression that goes on at <paramref name="next"/>.</summary>
    internal int Emit(GrammarExpression expression, int next)
    {
        switch (expression)
        {
            case GrammarExpression.OneByte one:
                return Byte(one.Set, next);
            case GrammarExpression.Sequence sequence:
                for (var i = sequence.Parts.Count - 1; i >= 0; i--)
                    next = Emit(sequence.Parts[i], next);
                return next;
            case GrammarExpression.Choice choice:
                return Split(choice.Choices.Select(c => Emit(c, next)).ToList());
            case GrammarExpression.Loop loop:
                var split = Split(next);
                AddChoice(split, Emit(loop.Part, split));
                return split;
            case GrammarExpression.Counted counted:
                return Add(new GrammarNode(GrammarStep.Repeat, default, next, counted.Rule, counted.Least, counted.Most));
            case GrammarExpression.Reference call:
                return Add(new GrammarNode(GrammarStep.Call, default, next, call.Rule));
            default:
                throw new InvalidOperationException($"{expression.GetType().Name} is not known.");
        }
    }

    /// <summary>The grammar whose texts are those of a rule.</summary>
    internal Grammar Build(GrammarRule root) => new([.. _nodes], _rules, root);

    private int Add(GrammarNode node)
    {
        if (_nodes.Count >= MostNodes)
            throw new GrammarException("it is too large. Use fewer alternatives, shorter enumerations or smaller bounds.");
        _nodes.Add(node);
        return _nodes.Count - 1;
    }
}
