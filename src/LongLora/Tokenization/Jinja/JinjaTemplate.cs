using MarkedWriter = LongLora.Tokenization.Jinja.MarkedText.MarkedWriter;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// A small, strict interpreter of Jinja2 for chat templates, as transformers renders them: expressions, <c>for</c>, <c>if</c>, <c>set</c>,
/// <c>macro</c>, <c>break</c>, <c>continue</c> and transformers' own <c>generation</c>. A construct that it does not know is refused by
/// name when the template is read. Nothing can be reached from a template but the values that it is given.
/// </summary>
internal sealed class JinjaTemplate
{
    private readonly Statement _body;

    private JinjaTemplate(Statement body) => _body = body;

    private enum Flow
    {
        Next,
        Break,
        Continue,
    }

    private delegate Flow Statement(JinjaScope scope, MarkedWriter output);

    /// <summary>Reads a template.</summary>
    /// <exception cref="JinjaException">It is wrong, or uses what is not supported.</exception>
    public static JinjaTemplate Parse(string source) => new(new Parser(JinjaLexer.Read(source)).Template());

    /// <summary>Renders it.</summary>
    /// <param name="values">Its names.</param>
    /// <param name="generated">Places of the output in <c>generation</c> blocks.</param>
    /// <exception cref="JinjaException">The template raises it, or computes something that cannot be.</exception>
    public MarkedText Render(IReadOnlyDictionary<string, object?> values, out List<(int Start, int End)> generated)
    {
        var scope = new JinjaScope(null);
        foreach (var (name, value) in JinjaEnvironment.Functions)
            scope.Set(name, value);
        foreach (var (name, value) in values)
            scope.Set(name, value);
        var output = new MarkedWriter();
        try
        {
            _body(scope, output);
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new JinjaException($"a function is called with too few values ({e.ParamName})");
        }
        generated = scope.Generated;
        return output.ToText();
    }

    private sealed class Parser(List<JinjaToken> tokens) : JinjaExpressions(tokens)
    {
        private static readonly string[] s_ends = ["endfor", "endif", "endset", "endmacro", "endgeneration", "elif", "else"];

        public Statement Template()
        {
            var body = Body();
            return Current.Kind == JinjaTokenKind.End ? body : throw Fault("a tag ends or divides what was not begun");
        }

        // Statements up to a tag that ends or divides the one around them.
        private Statement Body()
        {
            var statements = new List<Statement>();
            while (Current.Kind != JinjaTokenKind.End && !(Is("{%", JinjaTokenKind.Open) && s_ends.Any(e => Is(e, JinjaTokenKind.Name, 1))))
                statements.Add(Next());
            return (scope, output) =>
            {
                foreach (var statement in statements)
                {
                    if (statement(scope, output) is var flow and not Flow.Next)
                        return flow;
                }
                return Flow.Next;
            };
        }

        private Statement Next()
        {
            var token = Take();
            if (token.Kind == JinjaTokenKind.Data)
            {
                var text = MarkedText.Of(token.Text);
                return Writing((_, output) => output.Write(text));
            }
            if (token.Text == "{{")
            {
                var value = Tuple();
                Expect("}}", JinjaTokenKind.Close);
                return Writing((scope, output) => output.Write(JinjaValues.ToText(value(scope))));
            }
            var name = ExpectName();
            return name switch
            {
                "for" => For(),
                "if" => If(),
                "set" => Set(),
                "macro" => Macro(),
                "generation" => Generation(),
                "break" => Jump(Flow.Break),
                "continue" => Jump(Flow.Continue),
                _ => throw Fault($"the statement '{name}' is not supported"),
            };
        }

        private static Statement Writing(Action<JinjaScope, MarkedWriter> action) =>
            (scope, output) =>
            {
                action(scope, output);
                return Flow.Next;
            };

        private void EndTag() => Expect("%}", JinjaTokenKind.Close);

        private void End(string name)
        {
            Expect("{%", JinjaTokenKind.Open);
            Expect(name, JinjaTokenKind.Name);
            EndTag();
        }

        private bool SkipTag(string name)
        {
            if (!Is("{%", JinjaTokenKind.Open) || !Is(name, JinjaTokenKind.Name, 1))
                return false;
            Take();
            Take();
            return true;
        }

        private Statement Jump(Flow flow)
        {
            EndTag();
            return (_, _) => flow;
        }

        private List<string> Targets()
        {
            var names = new List<string> { ExpectName() };
            while (Skip(","))
                names.Add(ExpectName());
            return names;
        }

        private static void Assign(JinjaScope scope, List<string> names, object? value)
        {
            if (names.Count == 1)
            {
                scope.Set(names[0], value);
                return;
            }
            var parts = JinjaValues.ToItems(value);
            if (parts.Count != names.Count)
                throw new JinjaException($"{parts.Count} values are to be given to {names.Count} names");
            for (var i = 0; i < names.Count; i++)
                scope.Set(names[i], parts[i]);
        }

        private Statement For()
        {
            var names = Targets();
            Expect("in", JinjaTokenKind.Name);
            // Without a condition of its own: an 'if' here chooses items.
            var source = NoCondition();
            var condition = SkipName("if") ? Expression() : null;
            if (IsName("recursive"))
                throw Fault("'recursive' is not supported");
            EndTag();
            var body = Body();
            Statement? otherwise = null;
            if (SkipTag("else"))
            {
                EndTag();
                otherwise = Body();
            }
            End("endfor");
            return (scope, output) =>
            {
                var items = JinjaValues.ToItems(source(scope));
                if (condition is not null)
                {
                    items = items.FindAll(item =>
                    {
                        var inner = new JinjaScope(scope);
                        Assign(inner, names, item);
                        return JinjaValues.IsTrue(condition(inner));
                    });
                }
                if (items.Count == 0)
                    return otherwise?.Invoke(scope, output) ?? Flow.Next;
                for (var i = 0; i < items.Count; i++)
                {
                    var inner = new JinjaScope(scope);
                    Assign(inner, names, items[i]);
                    inner.Set("loop", JinjaEnvironment.MakeLoop(items, i));
                    if (body(inner, output) == Flow.Break)
                        break;
                }
                return Flow.Next;
            };
        }

        private Statement If()
        {
            var branches = new List<(JinjaExpression? Condition, Statement Body)>();
            var condition = (JinjaExpression?)Expression();
            while (true)
            {
                EndTag();
                branches.Add((condition, Body()));
                if (SkipTag("elif"))
                    condition = Expression();
                else if (condition is not null && SkipTag("else"))
                    condition = null;
                else
                    break;
            }
            End("endif");
            return (scope, output) =>
            {
                foreach (var (test, body) in branches)
                {
                    if (test is null || JinjaValues.IsTrue(test(scope)))
                        return body(scope, output);
                }
                return Flow.Next;
            };
        }

        private Statement Set()
        {
            if (Is(".", ahead: 1))
            {
                var space = ExpectName();
                Take();
                var member = ExpectName();
                Expect("=");
                var given = Tuple();
                EndTag();
                return Writing(
                    (scope, _) =>
                        (scope.Get(space) as JinjaNamespace ?? throw new JinjaException($"'{space}' is no namespace")).Values[member] =
                            given(scope)
                );
            }
            var names = Targets();
            if (Skip("="))
            {
                var value = Tuple();
                EndTag();
                return Writing((scope, _) => Assign(scope, names, value(scope)));
            }
            EndTag();
            var body = Body();
            End("endset");
            return Writing(
                (scope, _) =>
                {
                    var text = new MarkedWriter();
                    body(new JinjaScope(scope), text);
                    Assign(scope, names, text.ToText());
                }
            );
        }

        private Statement Macro()
        {
            var name = ExpectName();
            Expect("(");
            var parameters = new List<(string Name, JinjaExpression? Default)>();
            while (!Skip(")"))
            {
                var parameter = ExpectName();
                parameters.Add((parameter, Skip("=") ? Expression() : null));
                if (!Is(")"))
                    Expect(",");
            }
            EndTag();
            var body = Body();
            End("endmacro");
            return Writing(
                (scope, _) =>
                    scope.Set(
                        name,
                        (JinjaCall)(
                            (arguments, named) =>
                            {
                                var inner = new JinjaScope(scope);
                                for (var i = 0; i < parameters.Count; i++)
                                {
                                    var (parameter, standard) = parameters[i];
                                    inner.Set(
                                        parameter,
                                        i < arguments.Count ? arguments[i]
                                            : named.TryGetValue(parameter, out var value) ? value
                                            : standard is not null ? standard(inner)
                                            : new JinjaUndefined(parameter)
                                    );
                                }
                                var text = new MarkedWriter();
                                body(inner, text);
                                return text.ToText();
                            }
                        )
                    )
            );
        }

        private Statement Generation()
        {
            EndTag();
            var body = Body();
            End("endgeneration");
            return (scope, output) =>
            {
                var start = output.Length;
                var flow = body(scope, output);
                scope.Generated.Add((start, output.Length));
                return flow;
            };
        }
    }
}
