using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Writes the tokenizer of a GGUF file as Hugging Face's files: <c>tokenizer.json</c>, <c>tokenizer_config.json</c>, the chat template,
/// and of SentencePiece models <c>tokenizer.model</c>.
/// </summary>
internal static class GgufTokenizerFiles
{
    private const string Space = "\u2581";

    private static readonly JsonWriterOptions s_style = new()
    {
        Indented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static readonly JsonSerializerOptions s_text = new()
    {
        WriteIndented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Writes the files into a folder.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="vocabulary">The tokenizer.</param>
    /// <param name="context">The model's context in tokens.</param>
    public static void Write(string folder, GgufVocabulary vocabulary, int context)
    {
        AtomicFile.Write(Path.Combine(folder, "tokenizer.json"), stream =>
        {
            using var json = new Utf8JsonWriter(stream, s_style);
            WriteTokenizer(json, vocabulary);
        });
        AtomicFile.WriteText(
            Path.Combine(folder, "tokenizer_config.json"),
            PythonNumber.KeepFloats(Config(vocabulary, context))!.ToJsonString(s_text) + "\n"
        );
        if (vocabulary.Model is "llama" or "t5")
            WritePieces(Path.Combine(folder, "tokenizer.model"), vocabulary);
        foreach (var (name, template) in vocabulary.ChatTemplates)
        {
            // Where transformers looks for them.
            var file =
                name == "default"
                    ? Path.Combine(folder, "chat_template.jinja")
                    : Path.Combine(folder, "additional_chat_templates", SafeName(name) + ".jinja");
            AtomicFile.WriteText(file, template);
        }
    }

    private static string SafeName(string name) =>
        string.Concat(name.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' ? c : '_'));

    private static JsonObject Config(GgufVocabulary vocabulary, int context)
    {
        JsonNode? Written(int? id) => id is { } token ? vocabulary.Tokens[token] : null;
        var config = new JsonObject
        {
            ["tokenizer_class"] = "PreTrainedTokenizerFast",
            ["add_bos_token"] = vocabulary.AddBos,
            ["add_eos_token"] = vocabulary.AddEos,
            ["bos_token"] = Written(vocabulary.Bos),
            ["eos_token"] = Written(vocabulary.Eos),
            ["unk_token"] = Written(vocabulary.Unknown),
            ["pad_token"] = Written(vocabulary.Padding),
            ["clean_up_tokenization_spaces"] = false,
            ["model_max_length"] = context,
        };
        var decoder = new JsonObject();
        foreach (var token in GgufTokenizerReader.AddedTokens(vocabulary))
            decoder[token.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)] = Added(token);
        config["added_tokens_decoder"] = decoder;
        return config;
    }

    private static JsonObject Added(AddedToken token) =>
        new()
        {
            ["content"] = token.Content,
            ["lstrip"] = token.LeftStrip,
            ["normalized"] = token.Normalized,
            ["rstrip"] = token.RightStrip,
            ["single_word"] = token.SingleWord,
            ["special"] = token.Special,
        };

    private static void WriteTokenizer(Utf8JsonWriter json, GgufVocabulary vocabulary)
    {
        json.WriteStartObject();
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        foreach (var token in GgufTokenizerReader.AddedTokens(vocabulary))
        {
            var entry = Added(token);
            entry.Insert(0, "id", token.Id);
            entry.WriteTo(json);
        }
        json.WriteEndArray();
        Member(json, "normalizer", Normalizer(vocabulary));
        Member(json, "pre_tokenizer", PreTokenizer(vocabulary));
        Member(json, "post_processor", PostProcessor(vocabulary));
        Member(json, "decoder", Decoder(vocabulary));
        json.WriteStartObject("model");
        if (vocabulary.Model == "t5")
            WriteUnigram(json, vocabulary);
        else
            WriteBpe(json, vocabulary);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void Member(Utf8JsonWriter json, string name, JsonNode? node)
    {
        json.WritePropertyName(name);
        if (node is null)
            json.WriteNullValue();
        else
            node.WriteTo(json);
    }

    private static void WriteBpe(Utf8JsonWriter json, GgufVocabulary vocabulary)
    {
        var isBytes = vocabulary.Model == "gpt2";
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        if (!isBytes && vocabulary.Unknown is { } unknown)
            json.WriteString("unk_token", vocabulary.Tokens[unknown]);
        else
            json.WriteNull("unk_token");
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", !isBytes);
        json.WriteBoolean("byte_fallback", !isBytes);
        json.WriteBoolean("ignore_merges", vocabulary.Rule is { WholeWords: true });
        json.WriteStartObject("vocab");
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
            json.WriteNumber(vocabulary.Tokens[id], id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach (var (left, right) in vocabulary.Model == "llama" ? MergesOfScores(vocabulary) : MergesOfList(vocabulary))
        {
            if (vocabulary.Model != "gemma4")
            {
                json.WriteStringValue($"{left} {right}");
                continue;
            }
            // A token may have a space in it there.
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }
        json.WriteEndArray();
    }

    private static IEnumerable<(string Left, string Right)> MergesOfList(GgufVocabulary vocabulary) =>
        vocabulary.Merges.Select(m =>
        {
            var cut = m.IndexOf(' ', 1);
            return (m[..cut], m[(cut + 1)..]);
        });

    // Every way to cut a token in two, the tokens with the highest scores first.
    private static IEnumerable<(string Left, string Right)> MergesOfScores(GgufVocabulary vocabulary)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            if (vocabulary.Kinds[id] == PieceKind.Normal)
                ids[vocabulary.Tokens[id]] = id;
        }
        foreach (var (token, _) in ids.OrderByDescending(t => vocabulary.Scores[t.Value]).ThenBy(t => t.Value))
        {
            for (var cut = 1; cut < token.Length; cut++)
            {
                if (ids.ContainsKey(token[..cut]) && ids.ContainsKey(token[cut..]))
                    yield return (token[..cut], token[cut..]);
            }
        }
    }

    private static void WriteUnigram(Utf8JsonWriter json, GgufVocabulary vocabulary)
    {
        json.WriteString("type", "Unigram");
        json.WriteNumber("unk_id", vocabulary.Unknown ?? 0);
        json.WriteStartArray("vocab");
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            json.WriteStartArray();
            json.WriteStringValue(vocabulary.Tokens[id]);
            json.WriteNumberValue(vocabulary.Scores[id]);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteBoolean("byte_fallback", false);
    }

    private static JsonObject? Normalizer(GgufVocabulary vocabulary)
    {
        if (vocabulary.Model == "gpt2")
            return null;
        var steps = new List<JsonNode>();
        if (vocabulary.CharacterMap.Length > 0)
            steps.Add(
                new JsonObject { ["type"] = "Precompiled", ["precompiled_charsmap"] = Convert.ToBase64String(vocabulary.CharacterMap) }
            );
        if (vocabulary.RemoveExtraWhitespaces)
        {
            // Not ^ and $, which stand for the ends of lines in Python.
            steps.Add(Replace("Regex", @"\A +| +\z", ""));
            steps.Add(Replace("Regex", " {2,}", " "));
        }
        if (vocabulary.Model != "t5")
        {
            if (vocabulary.AddSpacePrefix)
                steps.Add(new JsonObject { ["type"] = "Prepend", ["prepend"] = Space });
            steps.Add(Replace("String", " ", Space));
        }
        return steps.Count switch
        {
            0 => null,
            1 => (JsonObject)steps[0],
            _ => new JsonObject { ["type"] = "Sequence", ["normalizers"] = new JsonArray([.. steps]) },
        };
    }

    private static JsonObject Replace(string kind, string pattern, string content) =>
        new()
        {
            ["type"] = "Replace",
            ["pattern"] = new JsonObject { [kind] = pattern },
            ["content"] = content,
        };

    private static JsonObject? PreTokenizer(GgufVocabulary vocabulary)
    {
        if (vocabulary.Rule is not { } rule)
            return vocabulary.Model switch
            {
                "t5" => Metaspace(vocabulary),
                "gemma4" => Split(@"[^\n]+|\n+"),
                _ => null,
            };
        // ByteLevel has GPT-2's pattern built in, behind the others.
        var patterns = rule.Patterns.ToList();
        var cuts = patterns[^1] == GgufWordRule.Gpt2;
        if (cuts)
            patterns.RemoveAt(patterns.Count - 1);
        var last = ByteLevel(cuts);
        return patterns.Count == 0
            ? last
            : new JsonObject { ["type"] = "Sequence", ["pretokenizers"] = new JsonArray([.. patterns.Select(Cut), last]) };
    }

    private static JsonObject Cut(string pattern) =>
        pattern == GgufWordRule.Digit ? new JsonObject { ["type"] = "Digits", ["individual_digits"] = true } : Split(pattern);

    private static JsonObject Split(string pattern) =>
        new()
        {
            ["type"] = "Split",
            ["pattern"] = new JsonObject { ["Regex"] = pattern },
            ["behavior"] = "Isolated",
            ["invert"] = false,
        };

    private static JsonObject ByteLevel(bool cuts) =>
        new()
        {
            ["type"] = "ByteLevel",
            ["add_prefix_space"] = false,
            ["trim_offsets"] = true,
            ["use_regex"] = cuts,
        };

    private static JsonObject Metaspace(GgufVocabulary vocabulary) =>
        new()
        {
            ["type"] = "Metaspace",
            ["replacement"] = Space,
            ["prepend_scheme"] = vocabulary.AddSpacePrefix ? "always" : "never",
            ["split"] = true,
        };

    private static JsonObject Decoder(GgufVocabulary vocabulary)
    {
        if (vocabulary.Model == "gpt2")
            return ByteLevel(true);
        if (vocabulary.Model == "t5")
            return Metaspace(vocabulary);
        var steps = new JsonArray(
            Replace("String", Space, " "),
            new JsonObject { ["type"] = "ByteFallback" },
            new JsonObject { ["type"] = "Fuse" }
        );
        if (vocabulary.AddSpacePrefix)
            steps.Add(
                new JsonObject
                {
                    ["type"] = "Strip",
                    ["content"] = " ",
                    ["start"] = 1,
                    ["stop"] = 0,
                }
            );
        return new JsonObject { ["type"] = "Sequence", ["decoders"] = steps };
    }

    private static JsonObject? PostProcessor(GgufVocabulary vocabulary)
    {
        if (!vocabulary.AddBos && !vocabulary.AddEos)
            return null;
        JsonObject Token(int id) =>
            new()
            {
                ["SpecialToken"] = new JsonObject { ["id"] = vocabulary.Tokens[id], ["type_id"] = 0 },
            };
        JsonObject Sequence(string name) =>
            new()
            {
                ["Sequence"] = new JsonObject { ["id"] = name, ["type_id"] = 0 },
            };
        var around = new JsonObject();
        JsonArray Around(params string[] names)
        {
            var parts = new JsonArray();
            foreach (var name in names)
            {
                if (vocabulary is { AddBos: true, Bos: { } bos })
                    parts.Add(Token(bos));
                parts.Add(Sequence(name));
                if (vocabulary is { AddEos: true, Eos: { } eos })
                    parts.Add(Token(eos));
            }
            return parts;
        }
        int?[] used = [vocabulary.AddBos ? vocabulary.Bos : null, vocabulary.AddEos ? vocabulary.Eos : null];
        foreach (var id in used.OfType<int>().Distinct())
        {
            around[vocabulary.Tokens[id]] = new JsonObject
            {
                ["id"] = vocabulary.Tokens[id],
                ["ids"] = new JsonArray(id),
                ["tokens"] = new JsonArray(vocabulary.Tokens[id]),
            };
        }
        return new JsonObject
        {
            ["type"] = "TemplateProcessing",
            ["single"] = Around("A"),
            ["pair"] = Around("A", "B"),
            ["special_tokens"] = around,
        };
    }

    private static void WritePieces(string path, GgufVocabulary vocabulary)
    {
        // SentencePiece has one unknown piece; rows that only fill a BPE model up are for it pieces that no text becomes.
        PieceKind Kind(int id) =>
            id == vocabulary.Unknown ? PieceKind.Unknown
            : vocabulary.Kinds[id] == PieceKind.Unknown || (vocabulary.Kinds[id] == PieceKind.Unused && vocabulary.Model == "llama")
                ? PieceKind.Control
            : vocabulary.Kinds[id];
        SentencePieceWriter.Write(
            path,
            [.. vocabulary.Tokens.Index().Select(t => new Piece(t.Item, vocabulary.Scores[t.Index], Kind(t.Index)))],
            vocabulary.Model == "t5",
            new(vocabulary.Unknown, vocabulary.Bos, vocabulary.Eos, vocabulary.Padding),
            vocabulary.CharacterMap,
            vocabulary.AddSpacePrefix,
            vocabulary.RemoveExtraWhitespaces
        );
    }
}
