namespace LongLora.Tokenization.Jinja;

/// <summary>The names in a template that its caller gives values: those that it reads and does not make itself.</summary>
internal static class JinjaVariables
{
    private static readonly HashSet<string> s_words = new(StringComparer.Ordinal)
    {
        "true",
        "True",
        "false",
        "False",
        "none",
        "None",
        "and",
        "or",
        "not",
        "if",
        "elif",
        "else",
        "in",
        "is",
        "loop",
    };

    private static readonly string[] s_statements = ["if", "elif", "for", "set", "macro", "generation", "break", "continue", "else"];

    /// <summary>Finds them, in the order in which they come first.</summary>
    /// <param name="source">The template, which must be right.</param>
    public static IReadOnlyList<string> Find(string source)
    {
        var tokens = JinjaLexer.Read(source);
        HashSet<string> made = new(StringComparer.Ordinal),
            optional = new(StringComparer.Ordinal);
        var read = new List<string>();
        var (tag, divider) = (0, int.MaxValue); // where the tag opens, and where the part of it ends that makes names
        for (var at = 0; at < tokens.Count; at++)
        {
            if (tokens[at].Kind == JinjaTokenKind.Open)
                (tag, divider) = (at, int.MaxValue);
            else if (divider == int.MaxValue && EndsMaking(tokens, tag, at))
                divider = at;
            if (tokens[at].Kind != JinjaTokenKind.Name)
                continue;
            var name = tokens[at].Text;
            if (IsStatement(tokens, at))
                continue;
            if (at < divider && IsMade(tokens, tag, at))
                made.Add(name);
            else if (!IsPartOfAnother(tokens, at))
                read.Add(name);
            if (HasStandard(tokens, at))
                optional.Add(name);
        }
        // Some templates ask whether a variable has a value, and give it one if not.
        return
        [
            .. read.Where(name => !s_words.Contains(name) && !JinjaEnvironment.Functions.ContainsKey(name))
                .Where(name => !made.Contains(name) || optional.Contains(name))
                .Distinct(StringComparer.Ordinal),
        ];
    }

    private static bool Is(List<JinjaToken> tokens, int at, string text, JinjaTokenKind kind = JinjaTokenKind.Operator) =>
        at >= 0 && at < tokens.Count && tokens[at].Kind == kind && tokens[at].Text == text;

    private static bool IsStatement(List<JinjaToken> tokens, int at) =>
        Is(tokens, at - 1, "{%", JinjaTokenKind.Open)
        && (s_statements.Contains(tokens[at].Text) || tokens[at].Text.StartsWith("end", StringComparison.Ordinal));

    // A member, a filter, a test, or the name of an argument.
    private static bool IsPartOfAnother(List<JinjaToken> tokens, int at) =>
        Is(tokens, at - 1, ".")
        || Is(tokens, at - 1, "|")
        || Is(tokens, at - 1, "is", JinjaTokenKind.Name)
        || (Is(tokens, at - 1, "not", JinjaTokenKind.Name) && Is(tokens, at - 2, "is", JinjaTokenKind.Name))
        || ((Is(tokens, at - 1, "(") || Is(tokens, at - 1, ",")) && Is(tokens, at + 1, "="));

    // A target of 'set' or 'for', or a macro or its parameter. The value after 'set x =' is read.
    private static bool IsMade(List<JinjaToken> tokens, int tag, int at) =>
        Is(tokens, tag, "{%", JinjaTokenKind.Open)
        && tokens[tag + 1].Text switch
        {
            "set" or "for" => true,
            "macro" => at == tag + 2 || tokens[at - 1].Text is "(" or ",",
            _ => false,
        };

    // The '=' or '.' of 'set x = y', and the 'in' of 'for x in y'.
    private static bool EndsMaking(List<JinjaToken> tokens, int tag, int at) =>
        Is(tokens, tag, "{%", JinjaTokenKind.Open)
        && (
            Is(tokens, tag + 1, "set", JinjaTokenKind.Name)
                ? Is(tokens, at, "=") || Is(tokens, at, ".")
                : Is(tokens, tag + 1, "for", JinjaTokenKind.Name) && Is(tokens, at, "in", JinjaTokenKind.Name)
        );

    private static bool HasStandard(List<JinjaToken> tokens, int at) =>
        (Is(tokens, at + 1, "is", JinjaTokenKind.Name) && Is(tokens, at + 2, "defined", JinjaTokenKind.Name))
        || (Is(tokens, at + 1, "is", JinjaTokenKind.Name) && Is(tokens, at + 3, "defined", JinjaTokenKind.Name))
        || (Is(tokens, at + 1, "is", JinjaTokenKind.Name) && Is(tokens, at + 2, "undefined", JinjaTokenKind.Name))
        || (
            Is(tokens, at + 1, "|") && (Is(tokens, at + 2, "default", JinjaTokenKind.Name) || Is(tokens, at + 2, "d", JinjaTokenKind.Name))
        );
}
