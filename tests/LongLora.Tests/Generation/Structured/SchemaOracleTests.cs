using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using Json.Schema;

namespace LongLora.Tests.Generation.Structured;

/// <summary>The grammar of a schema against JsonSchema.Net, which nobody here wrote.</summary>
public sealed class SchemaOracleTests
{
    private static readonly JsonSerializerOptions s_compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static bool IsValid(JsonSchema schema, JsonNode? document) =>
        schema.Evaluate(JsonSerializer.SerializeToElement(document)).IsValid;

    // Null for a number that the oracle cannot compare with those of an enum, because it does not fit into a decimal.
    private static bool? IsValid(JsonSchema schema, string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            return schema.Evaluate(document.RootElement).IsValid;
        }
        catch (FormatException)
        {
            return null;
        }
    }

    // The oracle counts what readers see as one character where JSON Schema counts code points, so these texts are plain.
    [Fact]
    public void Every_text_of_the_grammar_is_valid() =>
        Gen.Int[0, 1_000_000]
            .Sample(
                seed =>
                {
                    var random = new Random(seed);
                    var schema = new RandomSchemas(random).Next().Schema.ToJsonString();
                    var (walk, oracle) = (Walk.Schema(schema), JsonSchema.FromText(schema));
                    for (var i = 0; i < 3; i++)
                    {
                        var text = walk.Draw(random, isPlain: true);
                        if (IsValid(oracle, text) == false)
                            Assert.Fail($"{schema}\nallows {text}");
                    }
                },
                iter: 300,
                threads: 1
            );

    [Fact]
    public void Every_valid_document_is_a_text_of_the_grammar_and_no_invalid_one_is() =>
        Gen.Int[0, 1_000_000]
            .Sample(
                seed =>
                {
                    var random = new Random(seed);
                    var schemas = new RandomSchemas(random);
                    var (schema, draw) = schemas.Next();
                    var (walk, oracle) = (Walk.Schema(schema.ToJsonString()), JsonSchema.FromText(schema.ToJsonString()));
                    for (var i = 0; i < 5; i++)
                    {
                        var document = draw();
                        var text = document?.ToJsonString(s_compact) ?? "null";
                        if (!IsValid(oracle, document))
                            Assert.Fail($"the test draws {text}, which is invalid under {schema}");
                        if (!walk.Accepts(text))
                            Assert.Fail($"{schema.ToJsonString()}\nrefuses {text}");
                        var other = schemas.Damage(document);
                        var damaged = other?.ToJsonString(s_compact) ?? "null";
                        if (walk.Accepts(damaged) != IsValid(oracle, other))
                            Assert.Fail($"{schema.ToJsonString()}\n{(walk.Accepts(damaged) ? "accepts" : "refuses")} {damaged}");
                    }
                },
                iter: 300,
                threads: 1
            );
}
