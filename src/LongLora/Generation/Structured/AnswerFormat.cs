using System.Runtime.CompilerServices;
using System.Text.Json;
using LongLora.Generation.Structured;
using LongLora.Runtime;

namespace LongLora.Generation;

/// <summary>
/// A format that an answer is bound to: each token is chosen among those with which the text can still become valid, so that even a small
/// model cannot leave it. An answer that reaches its most tokens is cut off, as any other. Immutable and thread-safe; what is computed
/// for a vocabulary is kept, so that a format that is used again costs less.
/// </summary>
public sealed class AnswerFormat
{
    private readonly ConditionalWeakTable<TokenTrie, GrammarMatcher> _matchers = [];
    private readonly Grammar _grammar;

    internal AnswerFormat(Grammar grammar, bool hasControlTokens = false) => (_grammar, HasControlTokens) = (grammar, hasControlTokens);

    /// <summary>Any JSON object, of at most 64 levels.</summary>
    public static AnswerFormat Json { get; } = MakeJson();

    /// <summary>JSON that is valid under a schema.</summary>
    /// <param name="schema">
    /// The schema, in draft 2020-12. Properties come in its order. Where a schema names properties and says nothing of others, there are
    /// none.
    /// </param>
    /// <exception cref="ConfigurationException">
    /// It is damaged, has no finite text, or has a keyword that is not supported; the message names the keyword and its place.
    /// </exception>
    public static AnswerFormat FromSchema(JsonElement schema)
    {
        try
        {
            var json = new JsonText(new GrammarBuilder());
            var rule = new SchemaCompiler(json, schema).Compile();
            return new AnswerFormat(Document(json, rule));
        }
        catch (GrammarException e)
        {
            throw new ConfigurationException($"Cannot follow the JSON schema because {e.Message}", e);
        }
    }

    /// <summary>Whether the answer may also be free text, whose end the format does not know.</summary>
    internal bool MayBeText { get; init; }

    /// <summary>Whether control tokens are part of the text, as some formats of tool calls have them.</summary>
    internal bool HasControlTokens { get; }

    internal GrammarMatcher MatcherFor(TokenTrie trie) => _matchers.GetValue(trie, t => new GrammarMatcher(_grammar, t.Longest));

    private static AnswerFormat MakeJson()
    {
        var json = new JsonText(new GrammarBuilder(), isIndented: true);
        return new AnswerFormat(Document(json, GrammarExpression.Call(json.Object)));
    }

    private static Grammar Document(JsonText json, GrammarExpression value) =>
        json.Builder.Build(json.Builder.NewRule("document", GrammarExpression.Join(JsonText.Space, value)));
}
