using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>
/// How a model writes calls of tools: <c>Before NAME Inside ARGUMENTS (Between NAME Inside ARGUMENTS)* After</c>. It is found by rendering
/// calls with the model's own template. <see cref="Id"/> in these texts stands for the identifier of the call.
/// </summary>
/// <param name="Before">What stands before the name of the first call.</param>
/// <param name="Inside">What stands between a name and its arguments.</param>
/// <param name="Between">What stands between arguments and the next name; null where there is one call alone.</param>
/// <param name="After">What stands behind the last arguments.</param>
internal sealed partial record ToolCallFormat(string Before, string Inside, string? Between, string After)
{
    /// <summary>Stands for the identifier of a call.</summary>
    internal const char Id = '\0';

    internal const int IdLength = 9;
    internal const string Letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    private const int MostCalls = 16;

    /// <summary>The JSON of the calls, one a line: what models learn whose template has no form of its own.</summary>
    internal static ToolCallFormat Plain { get; } = new("{\"name\": \"", "\", \"arguments\": ", "}\n{\"name\": \"", "}");

    /// <summary>The JSON of each call between tags, as Hermes and Qwen have it.</summary>
    internal static ToolCallFormat Tagged { get; } =
        new("<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>\n<tool_call>\n{\"name\": \"", "}\n</tool_call>");

    /// <summary>The text with which a call begins wherever it stands; null where only the whole answer can be calls.</summary>
    internal string? Mark => LeadingMark().Match(Before) is { Success: true } mark ? mark.Value : null;

    /// <summary>Whether calls have identifiers of <see cref="IdLength"/> letters and digits.</summary>
    internal bool HasIds => (Inside + Between + After).Contains(Id, StringComparison.Ordinal);

    /// <summary>Finds the form of a template; null if it writes calls in one that is not known.</summary>
    internal static ToolCallFormat? Find(ChatTemplate template, ITokenizer tokenizer)
    {
        if (!template.WritesToolCalls)
            return template.TagsToolCalls ? Tagged : Plain;
        if (Render(template, tokenizer, 1) is not { } one)
            return null;
        var first = Locate(one, 0);
        if (first is not { } call)
            return null;
        var before = Thought().Replace(one[..call.Name], "").TrimStart();
        if (before.Length == 0)
            return null;
        string? between = null;
        if (Render(template, tokenizer, 2) is { } two && Locate(two, 0) is { } x && Locate(two, 1) is { } y && x.End <= y.Name)
            between = Unnamed(two[x.End..y.Name]);
        return new ToolCallFormat(before, Unnamed(one[(call.Name + Name(0).Length)..call.Start]), between, Unnamed(one[call.End..]));
    }

    private static string Name(int number) => $"probe_name_{number}";

    private static string IdOf(int number) => $"probe1id{number}";

    private static string Unnamed(string text) => text.Replace(IdOf(0), $"{Id}", StringComparison.Ordinal);

    // The answer of some calls, without what ends it.
    private static string? Render(ChatTemplate template, ITokenizer tokenizer, int count)
    {
        var calls = Enumerable
            .Range(0, count)
            .Select(i => new
            {
                id = IdOf(i),
                type = "function",
                function = new { name = Name(i), arguments = new { probe_key = i } },
            });
        ChatMessage[] asked = [new("user", "x")];
        var answer = new ChatMessage(ChatMessage.Assistant, "")
        {
            Further = new Dictionary<string, JsonElement> { [ToolCalls.Member] = JsonSerializer.SerializeToElement(calls) },
        };
        try
        {
            var prompt = template.Render(asked, tokenizer, addGenerationPrompt: true).Text;
            var text = template.Render([.. asked, answer], tokenizer).Text;
            return text[Start(prompt, text)..End(template, tokenizer, text)];
        }
        catch (DataException)
        {
            return null;
        }
    }

    // Where the answer starts: behind what its prompt has too, but not inside a mark.
    private static int Start(string prompt, string text)
    {
        var common = prompt.AsSpan().CommonPrefixLength(text);
        if (common == prompt.Length)
            return common;
        var open = text.LastIndexOf('<', Math.Max(0, common - 1));
        return open >= 0 && text.IndexOf('>', open) >= common ? open : common;
    }

    private static int End(ChatTemplate template, ITokenizer tokenizer, string text)
    {
        var last = text.LastIndexOf("probe_", StringComparison.Ordinal);
        foreach (var end in (string[])[template.FindEndOfAnswer(tokenizer).Text, Written(tokenizer, tokenizer.EosTokenId)])
        {
            if (end.Length > 0 && text.IndexOf(end, last, StringComparison.Ordinal) is >= 0 and var at)
                return at;
        }
        return text.TrimEnd().Length;
    }

    private static string Written(ITokenizer tokenizer, int? id) => id is { } token ? tokenizer.Decode([token], skipSpecial: false) : "";

    // Where a call's name starts, and where its arguments start and end, if these are a JSON object as it is.
    private static (int Name, int Start, int End)? Locate(string text, int number)
    {
        var name = text.IndexOf(Name(number), StringComparison.Ordinal);
        var key = name < 0 ? -1 : text.IndexOf("\"probe_key\"", name, StringComparison.Ordinal);
        if (key < 0)
            return null;
        var (start, end) = (text.LastIndexOf('{', key), text.IndexOf('}', key));
        return start > name && end > key && IsArguments(text[start..(end + 1)], number) ? (name, start, end + 1) : null;
    }

    private static bool IsArguments(string text, int number)
    {
        try
        {
            using var json = JsonDocument.Parse(text);
            return json.RootElement.TryGetProperty("probe_key", out var value)
                && value.ValueKind == JsonValueKind.Number
                && value.GetInt32() == number;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>The format of an answer: calls, or what may stand in their place.</summary>
    /// <param name="use">The tools.</param>
    /// <param name="schema">What an answer without a call is bound to; null for free text.</param>
    /// <param name="tokenizer">Knows which marks are control tokens.</param>
    /// <exception cref="ConfigurationException">A schema cannot be followed.</exception>
    internal AnswerFormat Bind(ToolUse use, JsonElement? schema, ITokenizer tokenizer)
    {
        var json = new JsonText(new GrammarBuilder());
        var id = json.Builder.NewRule("identifier", Byte(ByteSet.Of(Letters)));
        var call = json.Builder.NewRule("call", Any([.. use.Callable.Select(Call)]));
        var rest = new List<GrammarExpression> { GrammarExpression.Call(call) };
        if (Between is not null && use.IsParallel)
            rest.Add(Times(json.Builder.NewRule("further call", Join(Literal(Between), GrammarExpression.Call(call))), 0, MostCalls - 1));
        rest.Add(Literal(After));
        var calls = Join([.. rest]);
        var root = json.Builder.NewRule("answer");
        if (use.IsRequired)
            json.Builder.Define(root, Join(JsonText.Space, Literal(Before), calls));
        else if (schema is { } of)
            json.Builder.Define(
                root,
                Join(JsonText.Space, Any(Join(Literal(Before), calls), Explain("", () => new SchemaCompiler(json, of).Compile())))
            );
        else
            root.Start = FreeText(json, Encode(Mark ?? Before, tokenizer), Encode(Before, tokenizer), calls);
        var hasControl = Encode(Before + Inside + Between + After, tokenizer).Contains(TokenTrie.ControlMark);
        return new AnswerFormat(Explain(" or of the tools", () => json.Builder.Build(root)), hasControl)
        {
            MayBeText = !use.IsRequired && schema is null,
        };

        GrammarExpression Call(ToolDefinition tool) =>
            Join(
                Text(tool.Name),
                Literal(Inside),
                Explain($" of the tool '{tool.Name}'", () => new SchemaCompiler(json, tool.Parameters ?? s_none).CompileObject())
            );

        GrammarExpression Literal(string text) =>
            Join([
                .. text.Split(Id)
                    .SelectMany(
                        (part, i) =>
                            i == 0
                                ? (GrammarExpression[])[Bytes(Encode(part, tokenizer))]
                                : [Times(id, IdLength, IdLength), Bytes(Encode(part, tokenizer))]
                    ),
            ]);
    }

    private static readonly JsonElement s_none = JsonDocument.Parse("""{"type":"object","properties":{}}""").RootElement;

    private static T Explain<T>(string of, Func<T> compile)
    {
        try
        {
            return compile();
        }
        catch (GrammarException e)
        {
            throw new ConfigurationException($"Cannot follow the JSON schema{of} because {e.Message}", e);
        }
    }

    // Text in which the trigger does not stand, and from the trigger on calls. Without a mark the trigger is looked for at the start alone.
    private int FreeText(JsonText json, byte[] trigger, byte[] all, GrammarExpression calls)
    {
        var builder = json.Builder;
        var end = builder.Return();
        var found = builder.Emit(Join(Bytes(all.AsSpan(trigger.Length)), calls), end);
        var states = trigger.Select(_ => builder.Split(end)).ToArray();
        var other = builder.Split(end);
        builder.AddChoice(other, builder.Byte(ByteSet.Range(0, 255), other));
        for (var i = 0; i < trigger.Length; i++)
        {
            // Bytes that lead to the same state go together.
            var targets = new Dictionary<int, ByteSet>();
            for (var value = 0; value < 256; value++)
            {
                var next =
                    value == trigger[i]
                        ? i + 1 == trigger.Length
                            ? found
                            : states[i + 1]
                        : Mark is null
                            ? i == 0 && value is ' ' or '\n'
                                ? states[0]
                                : other
                            : states[Overlap(trigger, i, (byte)value)];
                targets[next] = targets.GetValueOrDefault(next).With(value);
            }
            foreach (var (next, set) in targets)
                builder.AddChoice(states[i], builder.Byte(set, next));
        }
        return states[0];
    }

    // How much of the trigger's beginning the text ends with, after i bytes of it and another one (Knuth, Morris and Pratt).
    private static int Overlap(byte[] trigger, int i, byte value)
    {
        byte[] read = [.. trigger.AsSpan(0, i), value];
        for (var length = i; length > 0; length--)
        {
            if (read.AsSpan(read.Length - length).SequenceEqual(trigger.AsSpan(0, length)))
                return length;
        }
        return 0;
    }

    // A text as the grammar reads it, with its control tokens as such.
    private static byte[] Encode(string text, ITokenizer tokenizer)
    {
        var bytes = new List<byte>();
        var control = (tokenizer as TextTokenizer)?.SpecialTokens;
        for (int at = 0, search = 0; at < text.Length; )
        {
            var (start, end, id) = (text.Length, text.Length, -1);
            control?.TryFind(text, ref search, at, out start, out end, out id);
            bytes.AddRange(System.Text.Encoding.UTF8.GetBytes(text[at..Math.Max(at, start)]));
            if (id >= 0)
            {
                bytes.Add(TokenTrie.ControlMark);
                bytes.AddRange(((TextTokenizer)tokenizer).GetBytes(id));
            }
            at = Math.Max(at, end);
        }
        return [.. bytes];
    }

    [GeneratedRegex(@"^(<[^<>\s]+>|\[[A-Z_]+\])")]
    private static partial Regex LeadingMark();

    [GeneratedRegex(@"^\s*<think>.*?</think>", RegexOptions.Singleline)]
    private static partial Regex Thought();
}
