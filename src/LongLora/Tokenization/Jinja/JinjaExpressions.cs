using System.Globalization;

namespace LongLora.Tokenization.Jinja;

/// <summary>Computes a value.</summary>
internal delegate object? JinjaExpression(JinjaScope scope);

/// <summary>
/// Parses expressions with Jinja2's precedences: condition, or, and, not, comparison, sum, ~, product, power, sign, postfix with filters
/// and tests.
/// </summary>
internal class JinjaExpressions(List<JinjaToken> tokens)
{
    private int _at;

    protected JinjaToken Current => tokens[_at];

    protected JinjaToken Take() => tokens[_at++];

    protected bool Is(string text, JinjaTokenKind kind = JinjaTokenKind.Operator, int ahead = 0) =>
        _at + ahead < tokens.Count && tokens[_at + ahead].Kind == kind && tokens[_at + ahead].Text == text;

    protected bool IsName(string name) => Is(name, JinjaTokenKind.Name);

    protected bool Skip(string text, JinjaTokenKind kind = JinjaTokenKind.Operator)
    {
        var found = Is(text, kind);
        _at += found ? 1 : 0;
        return found;
    }

    protected bool SkipName(string name) => Skip(name, JinjaTokenKind.Name);

    protected void Expect(string text, JinjaTokenKind kind = JinjaTokenKind.Operator)
    {
        if (!Skip(text, kind))
            throw Fault($"'{text}' is expected; seen '{Current.Text}'");
    }

    protected string ExpectName() =>
        Current.Kind == JinjaTokenKind.Name ? Take().Text : throw Fault($"a name is expected; seen '{Current.Text}'");

    protected JinjaException Fault(string what) => new($"line {Current.Line}: {what}");

    /// <summary>An expression, or several with commas between: a tuple.</summary>
    protected JinjaExpression Tuple()
    {
        var first = Expression();
        if (!Is(","))
            return first;
        var items = new List<JinjaExpression> { first };
        while (Skip(",") && !Is("%}", JinjaTokenKind.Close))
            items.Add(Expression());
        return scope => items.ConvertAll(i => i(scope));
    }

    protected JinjaExpression Expression()
    {
        var value = Or();
        while (SkipName("if"))
        {
            var (then, condition) = (value, Or());
            var otherwise = SkipName("else") ? Expression() : _ => new JinjaUndefined("else");
            value = scope => JinjaValues.IsTrue(condition(scope)) ? then(scope) : otherwise(scope);
        }
        return value;
    }

    /// <summary>An expression that an 'if' behind it does not belong to.</summary>
    protected JinjaExpression NoCondition()
    {
        var first = Or();
        if (!Is(","))
            return first;
        var items = new List<JinjaExpression> { first };
        while (Skip(","))
            items.Add(Or());
        return scope => items.ConvertAll(i => i(scope));
    }

    private JinjaExpression Or()
    {
        var left = And();
        while (SkipName("or"))
        {
            var (a, b) = (left, And());
            left = scope => a(scope) is var value && JinjaValues.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    private JinjaExpression And()
    {
        var left = Not();
        while (SkipName("and"))
        {
            var (a, b) = (left, Not());
            left = scope => a(scope) is var value && !JinjaValues.IsTrue(value) ? value : b(scope);
        }
        return left;
    }

    private JinjaExpression Not()
    {
        if (!SkipName("not"))
            return Comparison();
        var value = Not();
        return scope => !JinjaValues.IsTrue(value(scope));
    }

    private JinjaExpression Comparison()
    {
        var left = Sum();
        JinjaExpression? all = null;
        while (ComparisonOperator() is { } sign)
        {
            var (a, b, before) = (left, Sum(), all);
            bool Holds(JinjaScope scope) => JinjaValues.Compare(sign, a(scope), b(scope));
            all = before is null ? scope => Holds(scope) : scope => JinjaValues.IsTrue(before(scope)) && Holds(scope);
            left = b;
        }
        return all ?? left;
    }

    private string? ComparisonOperator()
    {
        if (Current.Kind == JinjaTokenKind.Operator && Current.Text is "==" or "!=" or "<" or ">" or "<=" or ">=")
            return Take().Text;
        if (SkipName("in"))
            return "in";
        if (!IsName("not") || !Is("in", JinjaTokenKind.Name, 1))
            return null;
        _at += 2;
        return "not in";
    }

    private JinjaExpression Sum() => Chain(Concatenation, "+", "-");

    private JinjaExpression Concatenation() => Chain(Product, "~");

    private JinjaExpression Product() => Chain(Power, "*", "/", "//", "%");

    private JinjaExpression Power() => Chain(() => Unary(), "**");

    private JinjaExpression Chain(Func<JinjaExpression> part, params string[] signs)
    {
        var left = part();
        while (Current.Kind == JinjaTokenKind.Operator && signs.Contains(Current.Text))
        {
            var (sign, a, b) = (Take().Text, left, part());
            left = scope => JinjaValues.Calculate(sign, a(scope), b(scope));
        }
        return left;
    }

    private JinjaExpression Unary(bool filters = true)
    {
        JinjaExpression value;
        if (Skip("-"))
        {
            var inner = Unary(filters: false);
            value = scope => JinjaValues.Calculate("-", 0L, inner(scope));
        }
        else if (Skip("+"))
            value = Unary(filters: false);
        else
            value = Postfix(Primary());
        return filters ? FiltersAndTests(value) : value;
    }

    private JinjaExpression Primary()
    {
        var token = Take();
        switch (token.Kind)
        {
            case JinjaTokenKind.Text:
                var text = token.Text;
                while (Current.Kind == JinjaTokenKind.Text)
                    text += Take().Text;
                var literal = MarkedText.Of(text);
                return _ => literal;
            case JinjaTokenKind.Integer:
                object integer = long.Parse(token.Text, CultureInfo.InvariantCulture);
                return _ => integer;
            case JinjaTokenKind.Number:
                object number = double.Parse(token.Text, CultureInfo.InvariantCulture);
                return _ => number;
            case JinjaTokenKind.Name:
                return Name(token.Text);
            case JinjaTokenKind.Operator when token.Text == "(":
                if (Skip(")"))
                    return _ => new List<object?>();
                var inner = Tuple();
                Expect(")");
                return inner;
            case JinjaTokenKind.Operator when token.Text == "[":
                return ListLiteral();
            case JinjaTokenKind.Operator when token.Text == "{":
                return MapLiteral();
            default:
                _at--;
                throw Fault($"'{token.Text}' is not expected here");
        }
    }

    private static JinjaExpression Name(string name) =>
        name switch
        {
            "true" or "True" => _ => true,
            "false" or "False" => _ => false,
            "none" or "None" => _ => null,
            _ => scope => scope.Get(name),
        };

    private JinjaExpression ListLiteral()
    {
        var items = new List<JinjaExpression>();
        while (!Skip("]"))
        {
            items.Add(Expression());
            if (!Is("]"))
                Expect(",");
        }
        return scope => items.ConvertAll(i => i(scope));
    }

    private JinjaExpression MapLiteral()
    {
        var items = new List<(JinjaExpression Key, JinjaExpression Value)>();
        while (!Skip("}"))
        {
            var key = Expression();
            Expect(":");
            items.Add((key, Expression()));
            if (!Is("}"))
                Expect(",");
        }
        return scope =>
        {
            var map = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach (var (key, value) in items)
                map[JinjaValues.ToText(key(scope)).Text] = value(scope);
            return map;
        };
    }

    private JinjaExpression Postfix(JinjaExpression value)
    {
        while (true)
        {
            var inner = value;
            if (Skip("."))
            {
                var name = Current.Kind == JinjaTokenKind.Integer ? Take().Text : ExpectName();
                value = scope => JinjaValues.GetAttribute(inner(scope), name);
            }
            else if (Skip("["))
                value = Subscript(inner);
            else if (Skip("("))
                value = Call(inner);
            else
                return value;
        }
    }

    private JinjaExpression Subscript(JinjaExpression value)
    {
        var parts = new JinjaExpression?[3];
        var count = 0;
        var isSlice = false;
        while (!Is("]"))
        {
            if (Skip(":"))
            {
                isSlice = true;
                if (++count > 2)
                    throw Fault("a slice has at most three parts");
            }
            else
                parts[count] = Expression();
        }
        Expect("]");
        var (start, stop, step) = (parts[0], parts[1], parts[2]);
        if (isSlice)
            return scope => JinjaValues.Slice(value(scope), start?.Invoke(scope), stop?.Invoke(scope), step?.Invoke(scope));
        if (start is null)
            throw Fault("an index is expected");
        return scope => JinjaValues.GetItem(value(scope), start(scope));
    }

    private JinjaExpression Call(JinjaExpression function)
    {
        var (arguments, named) = Arguments();
        return scope =>
            function(scope) switch
            {
                JinjaCall call => call(arguments.ConvertAll(a => a(scope)), named.ToDictionary(n => n.Key, n => n.Value(scope))),
                JinjaUndefined u => throw new JinjaException($"there is no function '{u.Name}'"),
                _ => throw new JinjaException("a value that is no function is called"),
            };
    }

    protected (List<JinjaExpression> Arguments, Dictionary<string, JinjaExpression> Named) Arguments()
    {
        var arguments = new List<JinjaExpression>();
        var named = new Dictionary<string, JinjaExpression>();
        while (!Skip(")"))
        {
            if (Current.Kind == JinjaTokenKind.Name && Is("=", ahead: 1))
            {
                var name = Take().Text;
                Take();
                named[name] = Expression();
            }
            else
                arguments.Add(Expression());
            if (!Is(")"))
                Expect(",");
        }
        return (arguments, named);
    }

    private JinjaExpression FiltersAndTests(JinjaExpression value)
    {
        while (true)
        {
            if (Skip("|"))
                value = Filter(value);
            else if (SkipName("is"))
                value = Test(value);
            else if (Is("(") || Is(".") || Is("["))
                value = Postfix(value);
            else
                return value;
        }
    }

    private JinjaExpression Filter(JinjaExpression value)
    {
        var name = ExpectName();
        var filter = JinjaFilters.Find(name) ?? throw Fault($"the filter '{name}' is not supported");
        var (arguments, named) = Skip("(") ? Arguments() : ([], []);
        return scope => filter([value(scope), .. arguments.Select(a => a(scope))], named.ToDictionary(n => n.Key, n => n.Value(scope)));
    }

    private JinjaExpression Test(JinjaExpression value)
    {
        var negated = SkipName("not");
        var name = ExpectName();
        var test = JinjaFilters.FindTest(name) ?? throw Fault($"the test '{name}' is not supported");
        List<JinjaExpression> arguments = [];
        if (Skip("("))
            arguments = Arguments().Arguments;
        else if (
            Current.Kind is JinjaTokenKind.Text or JinjaTokenKind.Integer or JinjaTokenKind.Number
            || Is("[")
            || (Current.Kind == JinjaTokenKind.Name && Current.Text is not ("and" or "or" or "else" or "is" or "if" or "in" or "not"))
        )
            arguments.Add(Postfix(Primary()));
        return scope => test(value(scope), arguments.ConvertAll(a => a(scope))) != negated;
    }
}
