using MarkedWriter = LongLora.Tokenization.Jinja.MarkedText.MarkedWriter;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// A small, strict interpreter of Jinja2 for chat templates, as transformers renders them: expressions, <c>for</c>, <c>if</c>, <c>set</c>,
/// <c>macro</c>, <c>break</c>, <c>continue</c> and transformers' own <c>generation</c>. An unknown construct is refused by name when the
/// template is read. A template can access only the values that it is given.
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
    /// <exception cref="JinjaException">It has an error, or uses an unsupported feature.</exception>
    public static JinjaTemplate Parse(string source) => new(new Parser(JinjaLexer.Read(source)).ParseTemplate());

    /// <summary>Renders it.</summary>
    /// <param name="values">The values of its names.</param>
    /// <param name="generated">Spans of the output in <c>generation</c> blocks.</param>
    /// <exception cref="JinjaException">The template raises an exception, or computes something impossible.</exception>
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
            throw new JinjaException($"a function is called with too few arguments ({e.ParamName})");
        }
        catch (ArithmeticException e)
        {
            throw new JinjaException($"a number cannot be computed: {e.Message.TrimEnd('.')}");
        }
        generated = scope.Generated;
        return output.ToText();
    }

    private sealed class Parser(List<JinjaToken> tokens) : JinjaExpressions(tokens)
    {
        private static readonly string[] s_ends = ["endfor", "endif", "endset", "endmacro", "endgeneration", "elif", "else"];

        public Statement ParseTemplate()
        {
            var body = ParseBody();
            return Current.Kind == JinjaTokenKind.End ? body : throw MakeError("a tag ends or divides a block that was not started");
        }

        // Statements up to a tag that ends or divides the surrounding one.
        private Statement ParseBody()
        {
            JinjaWork.CheckDepth();
            var statements = new List<Statement>();
            while (Current.Kind != JinjaTokenKind.End && !(Is("{%", JinjaTokenKind.Open) && s_ends.Any(e => Is(e, JinjaTokenKind.Name, 1))))
                statements.Add(Next());
            return (scope, output) =>
            {
                foreach (var statement in statements)
                {
                    JinjaWork.Step();
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
                return MakeWriting((_, output) => output.Write(text));
            }
            if (token.Text == "{{")
            {
                var value = ParseTuple();
                Expect("}}", JinjaTokenKind.Close);
                return MakeWriting((scope, output) => output.Write(JinjaValues.ToText(value(scope))));
            }
            var name = ExpectName();
            return name switch
            {
                "for" => ParseFor(),
                "if" => ParseIf(),
                "set" => ParseSet(),
                "macro" => ParseMacro(),
                "generation" => ParseGeneration(),
                "break" => ParseJump(Flow.Break),
                "continue" => ParseJump(Flow.Continue),
                _ => throw MakeError($"the statement '{name}' is not supported"),
            };
        }

        private static Statement MakeWriting(Action<JinjaScope, MarkedWriter> action) =>
            (scope, output) =>
            {
                action(scope, output);
                return Flow.Next;
            };

        private void ExpectTagEnd() => Expect("%}", JinjaTokenKind.Close);

        private void ExpectEnd(string name)
        {
            Expect("{%", JinjaTokenKind.Open);
            Expect(name, JinjaTokenKind.Name);
            ExpectTagEnd();
        }

        private bool SkipTag(string name)
        {
            if (!Is("{%", JinjaTokenKind.Open) || !Is(name, JinjaTokenKind.Name, 1))
                return false;
            Take();
            Take();
            return true;
        }

        private Statement ParseJump(Flow flow)
        {
            ExpectTagEnd();
            return (_, _) => flow;
        }

        private List<string> ParseTargets()
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
                throw new JinjaException($"cannot assign {parts.Count} values to {names.Count} names");
            for (var i = 0; i < names.Count; i++)
                scope.Set(names[i], parts[i]);
        }

        private Statement ParseFor()
        {
            var names = ParseTargets();
            Expect("in", JinjaTokenKind.Name);
            // Without a condition of its own: an 'if' here selects items.
            var source = ParseNoCondition();
            var condition = SkipName("if") ? ParseExpression() : null;
            if (IsName("recursive"))
                throw MakeError("'recursive' is not supported");
            ExpectTagEnd();
            var body = ParseBody();
            Statement? otherwise = null;
            if (SkipTag("else"))
            {
                ExpectTagEnd();
                otherwise = ParseBody();
            }
            ExpectEnd("endfor");
            return (scope, output) =>
            {
                var items = JinjaValues.ToItems(source(scope));
                if (condition is not null)
                {
                    items = items.FindAll(item =>
                    {
                        JinjaWork.Step();
                        var inner = new JinjaScope(scope);
                        Assign(inner, names, item);
                        return JinjaValues.IsTrue(condition(inner));
                    });
                }
                if (items.Count == 0)
                    return otherwise?.Invoke(scope, output) ?? Flow.Next;
                for (var i = 0; i < items.Count; i++)
                {
                    JinjaWork.Step();
                    var inner = new JinjaScope(scope);
                    Assign(inner, names, items[i]);
                    inner.Set("loop", JinjaEnvironment.MakeLoop(items, i));
                    if (body(inner, output) == Flow.Break)
                        break;
                }
                return Flow.Next;
            };
        }

        private Statement ParseIf()
        {
            var branches = new List<(JinjaExpression? Condition, Statement Body)>();
            var condition = (JinjaExpression?)ParseExpression();
            while (true)
            {
                ExpectTagEnd();
                branches.Add((condition, ParseBody()));
                if (SkipTag("elif"))
                    condition = ParseExpression();
                else if (condition is not null && SkipTag("else"))
                    condition = null;
                else
                    break;
            }
            ExpectEnd("endif");
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

        private Statement ParseSet()
        {
            if (Is(".", ahead: 1))
            {
                var space = ExpectName();
                Take();
                var member = ExpectName();
                Expect("=");
                var given = ParseTuple();
                ExpectTagEnd();
                return MakeWriting(
                    (scope, _) =>
                        (scope.Get(space) as JinjaNamespace ?? throw new JinjaException($"'{space}' is not a namespace")).Values[member] =
                            given(scope)
                );
            }
            var names = ParseTargets();
            if (Skip("="))
            {
                var value = ParseTuple();
                ExpectTagEnd();
                return MakeWriting((scope, _) => Assign(scope, names, value(scope)));
            }
            ExpectTagEnd();
            var body = ParseBody();
            ExpectEnd("endset");
            return MakeWriting(
                (scope, _) =>
                {
                    var text = new MarkedWriter();
                    body(new JinjaScope(scope), text);
                    Assign(scope, names, text.ToText());
                }
            );
        }

        private Statement ParseMacro()
        {
            var name = ExpectName();
            Expect("(");
            var parameters = new List<(string Name, JinjaExpression? Default)>();
            while (!Skip(")"))
            {
                var parameter = ExpectName();
                parameters.Add((parameter, Skip("=") ? ParseExpression() : null));
                if (!Is(")"))
                    Expect(",");
            }
            ExpectTagEnd();
            var body = ParseBody();
            ExpectEnd("endmacro");
            return MakeWriting(
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

        private Statement ParseGeneration()
        {
            ExpectTagEnd();
            var body = ParseBody();
            ExpectEnd("endgeneration");
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
