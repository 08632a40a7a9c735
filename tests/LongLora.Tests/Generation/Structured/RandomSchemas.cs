using System.Text.Json.Nodes;

namespace LongLora.Tests.Generation.Structured;

/// <summary>A schema and documents of it, drawn at random.</summary>
internal sealed class RandomSchemas(Random random)
{
    private static readonly string[] s_names = ["a", "b", "ab", "key", "k\"x", "größe", "type", ""];

    /// <summary>A schema and a way to draw documents that are valid under it.</summary>
    internal (JsonObject Schema, Func<JsonNode?> Draw) Next(int depth = 0) =>
        random.Next(depth < 3 ? 11 : 7) switch
        {
            0 => (new() { ["type"] = "null" }, () => null),
            1 => (new() { ["type"] = "boolean" }, () => random.Next(2) == 0),
            2 => Whole(),
            3 => Real(),
            4 or 5 => Text(),
            6 => Enumeration(),
            7 => List(depth),
            8 => AnyOf(depth),
            _ => Members(depth),
        };

    private (JsonObject, Func<JsonNode?>) Whole()
    {
        var low = random.Next(-1200, 1200);
        var high = low + random.Next(0, 2000);
        return (random.Next(3)) switch
        {
            0 => (new() { ["type"] = "integer" }, () => random.Next(-100_000, 100_000)),
            1 => (new() { ["type"] = "integer", ["minimum"] = low }, () => low + random.Next(0, 100_000)),
            _ => (
                new()
                {
                    ["type"] = "integer",
                    ["minimum"] = low,
                    ["exclusiveMaximum"] = high + 1,
                },
                () => random.Next(low, high + 1)
            ),
        };
    }

    private (JsonObject, Func<JsonNode?>) Real()
    {
        var low = random.Next(-5000, 5000) / 100m;
        var high = low + random.Next(1, 5000) / 100m;
        return random.Next(2) == 0
            ? (new() { ["type"] = "number" }, () => random.Next(-100_000, 100_000) / 64m)
            : (
                new()
                {
                    ["type"] = "number",
                    ["exclusiveMinimum"] = low,
                    ["maximum"] = high,
                },
                () => high - (high - low) * random.Next(0, 64) / 64m
            );
    }

    private (JsonObject, Func<JsonNode?>) Text()
    {
        var least = random.Next(0, 4);
        var most = least + random.Next(0, 5);
        return random.Next(4) switch
        {
            0 => (new() { ["type"] = "string" }, () => Some(random.Next(0, 12))),
            1 => (
                new()
                {
                    ["type"] = "string",
                    ["minLength"] = least,
                    ["maxLength"] = most,
                },
                () => Some(random.Next(least, most + 1))
            ),
            2 => (new() { ["type"] = "string", ["pattern"] = "^[A-C]{2}-\\d+$" }, () =>
                $"{(char)random.Next('A', 'D')}{(char)random.Next('A', 'D')}-{random.Next(0, 1000)}"
            ),
            _ => (
                new()
                {
                    ["type"] = "string",
                    ["pattern"] = "ab|ü$",
                    ["maxLength"] = 9,
                },
                () => random.Next(2) == 0 ? Some(random.Next(0, 3)) + "ab" + Some(random.Next(0, 3)) : Some(random.Next(0, 8)) + "ü"
            ),
        };
    }

    private string Some(int length) =>
        string.Concat(Enumerable.Range(0, length).Select(_ => "abz ü€\"\\\n\u0001\U0001F600"[random.Next(10)]));

    private (JsonObject, Func<JsonNode?>) Enumeration()
    {
        JsonNode?[] values =
        [
            .. ((JsonNode?[])["red", "gr\"een", 3, 2.5m, null, true, new JsonArray(1, "x")]).Where(_ => random.Next(2) == 0),
            "last",
        ];
        return (new() { ["enum"] = new JsonArray([.. values.Select(v => v?.DeepClone())]) }, () =>
            values[random.Next(values.Length)]?.DeepClone()
        );
    }

    private (JsonObject, Func<JsonNode?>) List(int depth)
    {
        var (of, draw) = Next(depth + 1);
        var least = random.Next(0, 3);
        var most = least + random.Next(0, 3);
        var schema = new JsonObject
        {
            ["type"] = "array",
            ["items"] = of,
            ["minItems"] = least,
        };
        if (random.Next(2) == 0)
            schema["maxItems"] = most;
        return (schema, () => new JsonArray([.. Enumerable.Range(0, random.Next(least, most + 1)).Select(_ => draw())]));
    }

    private (JsonObject, Func<JsonNode?>) AnyOf(int depth)
    {
        var choices = Enumerable.Range(0, random.Next(1, 4)).Select(_ => Next(depth + 1)).ToList();
        return (new() { ["anyOf"] = new JsonArray([.. choices.Select(c => c.Schema)]) }, () => choices[random.Next(choices.Count)].Draw());
    }

    private (JsonObject, Func<JsonNode?>) Members(int depth)
    {
        var names = s_names.Where(_ => random.Next(2) == 0).ToList();
        var members = names.ConvertAll(name => (Name: name, Of: Next(depth + 1), IsRequired: random.Next(2) == 0));
        (JsonObject Schema, Func<JsonNode?> Draw)? others = random.Next(2) == 0 ? Next(depth + 1) : null;
        var schema = new JsonObject
        {
            ["type"] = "object",
            ["properties"] = new JsonObject(members.Select(m => KeyValuePair.Create(m.Name, (JsonNode?)m.Of.Schema))),
            ["required"] = new JsonArray([.. members.Where(m => m.IsRequired).Select(m => (JsonNode)m.Name)]),
            ["additionalProperties"] = others is { } o ? o.Schema : false,
        };
        return (schema, () =>
        {
            var value = new JsonObject();
            foreach (var (name, of, isRequired) in members)
            {
                if (isRequired || random.Next(2) == 0)
                    value[name] = of.Draw();
            }
            for (var i = random.Next(0, 3); others is { } more && i > 0; i--)
                value[$"more{i}"] = more.Draw();
            return value;
        });
    }

    /// <summary>The document with one of its values replaced by another.</summary>
    internal JsonNode? Damage(JsonNode? document)
    {
        JsonNode?[] strangers =
        [
            null,
            true,
            -7,
            0.125m,
            "?",
            new JsonArray(),
            new JsonObject(),
            new JsonArray(1, 2, 3),
            new JsonObject { ["q"] = 1 },
        ];
        var stranger = strangers[random.Next(strangers.Length)];
        switch (document)
        {
            case JsonArray { Count: > 0 } list when random.Next(4) > 0:
                var at = random.Next(list.Count);
                var changed = new JsonArray([.. list.Select((item, i) => i == at ? Damage(item) : item?.DeepClone())]);
                return changed;
            case JsonObject { Count: > 0 } members when random.Next(4) > 0:
                var name = members.ElementAt(random.Next(members.Count)).Key;
                var kind = random.Next(3);
                var copy = new JsonObject();
                foreach (var (key, value) in members)
                {
                    if (key != name || kind == 0)
                        copy[key] = key == name ? Damage(value) : value?.DeepClone();
                }
                if (kind == 2)
                    copy["strange"] = stranger;
                return copy;
            default:
                return stranger;
        }
    }
}
