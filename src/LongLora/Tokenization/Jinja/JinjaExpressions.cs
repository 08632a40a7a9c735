using System.Globalization;

namespace LongLora.Tokenization.Jinja;

/// <summary>Computes a value.</summary>
internal delegate object? JinjaExpression(JinjaScope scope);

/// <summary>
/// Parses expressions with Jinja2's precedence: condition, or, and, not, comparison, sum, ~, product, power, sign, postfix with filters and
/// tests.
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
            throw MakeError($"expected '{text}', but found '{Current.Text}'");
    }

    protected string ExpectName() =>
        Current.Kind == JinjaTokenKind.Name ? Take().Text : throw MakeError($"expected a name, but found '{Current.Text}'");

    /// <summary>An expression of others, each of which is a step.</summary>
    private static JinjaExpression Count(JinjaExpression expression) =>
        scope =>
        {
            JinjaWork.Step();
            return expression(scope);
        };

    protected JinjaException MakeError(string what) => new($"line {Current.Line}: {what}");

    /// <summary>An expression, or a tuple of several with commas between.</summary>
    protected JinjaExpression ParseTuple()
    {
        var first = ParseExpression();
        if (!Is(","))
            return first;
        var items = new List<JinjaExpression> { first };
        while (Skip(",") && !Is("%}", JinjaTokenKind.Close))
            items.Add(ParseExpression());
        return scope => items.ConvertAll(i => i(scope));
    }

    protected JinjaExpression ParseExpression()
    {
        JinjaWork.CheckDepth();
        var value = ParseOr();
        while (SkipName("if"))
        {
            var (then, condition) = (value, ParseOr());
            var otherwise = SkipName("else") ? ParseExpression() : _ => new JinjaUndefined("else");
            value = Count(scope => JinjaValues.IsTrue(condition(scope)) ? then(scope) : otherwise(scope));
        }
        return value;
    }

    /// <summary>An expression without a following 'if'.</summary>
    protected JinjaExpression ParseNoCondition()
    {
        var first = ParseOr();
        if (!Is(","))
            return first;
        var items = new List<JinjaExpression> { first };
        while (Skip(","))
            items.Add(ParseOr());
        return scope => items.ConvertAll(i => i(scope));
    }

    private JinjaExpression ParseOr()
    {
        var left = ParseAnd();
        while (SkipName("or"))
        {
            var (a, b) = (left, ParseAnd());
            left = Count(scope => a(scope) is var value && JinjaValues.IsTrue(value) ? value : b(scope));
        }
        return left;
    }

    private JinjaExpression ParseAnd()
    {
        var left = ParseNot();
        while (SkipName("and"))
        {
            var (a, b) = (left, ParseNot());
            left = Count(scope => a(scope) is var value && !JinjaValues.IsTrue(value) ? value : b(scope));
        }
        return left;
    }

    private JinjaExpression ParseNot()
    {
        if (!SkipName("not"))
            return ParseComparison();
        JinjaWork.CheckDepth();
        var value = ParseNot();
        return Count(scope => !JinjaValues.IsTrue(value(scope)));
    }

    private JinjaExpression ParseComparison()
    {
        var left = ParseSum();
        JinjaExpression? all = null;
        while (ParseComparisonOperator() is { } sign)
        {
            var (a, b, before) = (left, ParseSum(), all);
            bool Holds(JinjaScope scope)
            {
                JinjaWork.Step();
                return JinjaValues.Compare(sign, a(scope), b(scope));
            }
            all = Count(before is null ? scope => Holds(scope) : scope => JinjaValues.IsTrue(before(scope)) && Holds(scope));
            left = b;
        }
        return all ?? left;
    }

    private string? ParseComparisonOperator()
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

    private JinjaExpression ParseSum() => ParseChain(ParseConcatenation, "+", "-");

    private JinjaExpression ParseConcatenation() => ParseChain(ParseProduct, "~");

    private JinjaExpression ParseProduct() => ParseChain(ParsePower, "*", "/", "//", "%");

    private JinjaExpression ParsePower() => ParseChain(() => ParseUnary(), "**");

    private JinjaExpression ParseChain(Func<JinjaExpression> part, params string[] signs)
    {
        var left = part();
        while (Current.Kind == JinjaTokenKind.Operator && signs.Contains(Current.Text))
        {
            var (sign, a, b) = (Take().Text, left, part());
            left = Count(scope => JinjaValues.Calculate(sign, a(scope), b(scope)));
        }
        return left;
    }

    private JinjaExpression ParseUnary(bool filters = true)
    {
        JinjaWork.CheckDepth();
        JinjaExpression value;
        if (Skip("-"))
        {
            var inner = ParseUnary(filters: false);
            value = Count(scope => JinjaValues.Calculate("-", 0L, inner(scope)));
        }
        else if (Skip("+"))
            value = ParseUnary(filters: false);
        else
            value = ParsePostfix(ParsePrimary());
        return filters ? ParseFiltersAndTests(value) : value;
    }

    private JinjaExpression ParsePrimary()
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
                var integer = JinjaJson.ReadNumber(token.Text);
                return _ => integer;
            case JinjaTokenKind.Number:
                object number = double.Parse(token.Text, CultureInfo.InvariantCulture);
                return _ => number;
            case JinjaTokenKind.Name:
                return ParseName(token.Text);
            case JinjaTokenKind.Operator when token.Text == "(":
                if (Skip(")"))
                    return _ => new List<object?>();
                var inner = ParseTuple();
                Expect(")");
                return inner;
            case JinjaTokenKind.Operator when token.Text == "[":
                return ParseList();
            case JinjaTokenKind.Operator when token.Text == "{":
                return ParseMap();
            default:
                _at--;
                throw MakeError($"unexpected '{token.Text}'");
        }
    }

    private static JinjaExpression ParseName(string name) =>
        name switch
        {
            "true" or "True" => _ => true,
            "false" or "False" => _ => false,
            "none" or "None" => _ => null,
            _ => scope => scope.Get(name),
        };

    private JinjaExpression ParseList()
    {
        var items = new List<JinjaExpression>();
        while (!Skip("]"))
        {
            items.Add(ParseExpression());
            if (!Is("]"))
                Expect(",");
        }
        return Count(scope => items.ConvertAll(i => i(scope)));
    }

    private JinjaExpression ParseMap()
    {
        var items = new List<(JinjaExpression Key, JinjaExpression Value)>();
        while (!Skip("}"))
        {
            var key = ParseExpression();
            Expect(":");
            items.Add((key, ParseExpression()));
            if (!Is("}"))
                Expect(",");
        }
        return Count(scope =>
        {
            var map = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach (var (key, value) in items)
                map[JinjaValues.ToText(key(scope)).Text] = value(scope);
            return map;
        });
    }

    private JinjaExpression ParsePostfix(JinjaExpression value)
    {
        while (true)
        {
            var inner = value;
            if (Skip("."))
            {
                var name = Current.Kind == JinjaTokenKind.Integer ? Take().Text : ExpectName();
                value = Count(scope => JinjaValues.GetAttribute(inner(scope), name));
            }
            else if (Skip("["))
                value = ParseSubscript(inner);
            else if (Skip("("))
                value = ParseCall(inner);
            else
                return value;
        }
    }

    private JinjaExpression ParseSubscript(JinjaExpression value)
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
                    throw MakeError("a slice has at most three parts");
            }
            else
                parts[count] = ParseExpression();
        }
        Expect("]");
        var (start, stop, step) = (parts[0], parts[1], parts[2]);
        if (isSlice)
            return Count(scope => JinjaValues.Slice(value(scope), start?.Invoke(scope), stop?.Invoke(scope), step?.Invoke(scope)));
        if (start is null)
            throw MakeError("expected an index");
        return Count(scope => JinjaValues.GetItem(value(scope), start(scope)));
    }

    private JinjaExpression ParseCall(JinjaExpression function)
    {
        var (arguments, named) = ParseArguments();
        return Count(scope =>
            function(scope) switch
            {
                JinjaCall call => call(arguments.ConvertAll(a => a(scope)), named.ToDictionary(n => n.Key, n => n.Value(scope))),
                JinjaUndefined u => throw new JinjaException($"there is no function '{u.Name}'"),
                _ => throw new JinjaException("cannot call a value that is not a function"),
            }
        );
    }

    protected (List<JinjaExpression> Arguments, Dictionary<string, JinjaExpression> Named) ParseArguments()
    {
        var arguments = new List<JinjaExpression>();
        var named = new Dictionary<string, JinjaExpression>();
        while (!Skip(")"))
        {
            if (Current.Kind == JinjaTokenKind.Name && Is("=", ahead: 1))
            {
                var name = Take().Text;
                Take();
                named[name] = ParseExpression();
            }
            else
                arguments.Add(ParseExpression());
            if (!Is(")"))
                Expect(",");
        }
        return (arguments, named);
    }

    private JinjaExpression ParseFiltersAndTests(JinjaExpression value)
    {
        while (true)
        {
            if (Skip("|"))
                value = ParseFilter(value);
            else if (SkipName("is"))
                value = ParseTest(value);
            else if (Is("(") || Is(".") || Is("["))
                value = ParsePostfix(value);
            else
                return value;
        }
    }

    private JinjaExpression ParseFilter(JinjaExpression value)
    {
        var name = ExpectName();
        var filter = JinjaFilters.Find(name) ?? throw MakeError($"the filter '{name}' is not supported");
        var (arguments, named) = Skip("(") ? ParseArguments() : ([], []);
        return Count(scope =>
            filter([value(scope), .. arguments.Select(a => a(scope))], named.ToDictionary(n => n.Key, n => n.Value(scope)))
        );
    }

    private JinjaExpression ParseTest(JinjaExpression value)
    {
        var negated = SkipName("not");
        var name = ExpectName();
        var test = JinjaFilters.FindTest(name) ?? throw MakeError($"the test '{name}' is not supported");
        List<JinjaExpression> arguments = [];
        if (Skip("("))
            arguments = ParseArguments().Arguments;
        else if (
            Current.Kind is JinjaTokenKind.Text or JinjaTokenKind.Integer or JinjaTokenKind.Number
            || Is("[")
            || (Current.Kind == JinjaTokenKind.Name && Current.Text is not ("and" or "or" or "else" or "is" or "if" or "in" or "not"))
        )
            arguments.Add(ParsePostfix(ParsePrimary()));
        return Count(scope => test(value(scope), arguments.ConvertAll(a => a(scope))) != negated);
    }
}
