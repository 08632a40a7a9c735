using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Tokenization;

/// <summary>Reads the parts around the model in a tokenizer.json: normalizer, pre_tokenizer, post_processor and decoder.</summary>
internal static class TokenizerJsonPipeline
{
    // The pattern of GPT-2, which ByteLevel has built in.
    internal const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>How a text is split into words.</summary>
    /// <param name="ByteLevel">Whether the model works on bytes.</param>
    /// <param name="Preparation">Rewrites the text before it is split.</param>
    /// <param name="Splitter">Splits it; null to keep it whole.</param>
    public sealed record Cutting(bool ByteLevel, TextStep? Preparation, WordSplitter? Splitter);

    /// <summary>How tokens become text.</summary>
    public sealed record Decoding(bool ByteLevel, bool SpaceSign, bool ByteFallback, LeadingSpace LeadingSpace)
    {
        /// <summary>The bytes that a token of the vocabulary stands for.</summary>
        public byte[] ToBytes(string token)
        {
            if (ByteLevel)
                return ByteAlphabet.Read(token) ?? Encoding.UTF8.GetBytes(token);
            if (ByteFallback && TokenizerJson.ReadByteToken(token) is { } value)
                return [value];
            return Encoding.UTF8.GetBytes(SpaceSign ? token.Replace('\u2581', ' ') : token);
        }
    }

    public static TextStep? ReadNormalizer(LocatedJson node)
    {
        if (node.IsNull)
            return null;
        switch (node["type"].ReadText())
        {
            case "NFC":
                return CanonicalForm.C;
            case "NFD":
                return CanonicalForm.D;
            case "Prepend":
                return new PrependStep(node["prepend"].ReadText(), PrependRule.Always);
            case "Strip":
                return new TrimStep(node["strip_left"].ReadFlag(true), node["strip_right"].ReadFlag(true));
            case "Replace":
                var (from, to) = (node["pattern"]["String"].ReadTextOrNull(), node["content"].ReadText());
                return from?.Length == 1 && to.Length == 1
                    ? new ReplaceCharacterStep(from[0], to[0])
                    : new ReplacePatternStep(ReadPattern(node["pattern"]), to);
            case "Sequence":
                return new StepSequence(node["normalizers"].ReadItems().Select(ReadNormalizer).OfType<TextStep>().ToList());
            default:
                throw MakeUnsupportedError(node, "NFC, NFD, Prepend, Replace, Strip and Sequence of these");
        }
    }

    public static Cutting ReadPreTokenizer(LocatedJson node)
    {
        var (byteLevel, steps, rules) = (false, new List<TextStep>(), new List<SplitRule>());
        foreach (var part in Flatten(node, "pretokenizers"))
        {
            switch (part["type"].ReadText())
            {
                case "ByteLevel":
                    byteLevel = true;
                    if (part["add_prefix_space"].ReadFlag(true))
                        Prepare(part, rules, steps, new PrependStep(" ", PrependRule.IfMissing));
                    if (part["use_regex"].ReadFlag(true))
                        rules.Add(new SplitRule(Compile(part, Gpt2Pattern), SplitBehavior.Isolated));
                    break;
                case "Metaspace":
                    ReadMetaspace(part, rules, steps);
                    break;
                case "Split":
                    rules.Add(new SplitRule(ReadPattern(part["pattern"]), ReadBehavior(part["behavior"]), part["invert"].ReadFlag()));
                    break;
                case "Digits":
                    rules.Add(
                        new SplitRule(
                            Compile(part, @"\p{N}"),
                            part["individual_digits"].ReadFlag() ? SplitBehavior.Isolated : SplitBehavior.Contiguous
                        )
                    );
                    break;
                case "Punctuation":
                    var behavior = part["behavior"].IsNull ? SplitBehavior.Isolated : ReadBehavior(part["behavior"]);
                    rules.Add(new SplitRule(Compile(part, @"[\p{P}$+<=>^`|~]"), behavior));
                    break;
                case "WhitespaceSplit":
                    rules.Add(new SplitRule(Compile(part, @"\s+"), SplitBehavior.Removed));
                    break;
                default:
                    throw MakeUnsupportedError(
                        part,
                        "ByteLevel, Split, Digits, Punctuation, Metaspace, WhitespaceSplit and Sequence of these"
                    );
            }
        }
        return new(byteLevel, steps.Count == 0 ? null : new StepSequence(steps), rules.Count == 0 ? null : new WordSplitter(rules));
    }

    /// <summary>What the post-processor writes before and after a text.</summary>
    public static (IReadOnlyList<int> Prefix, IReadOnlyList<int> Suffix) ReadPostProcessor(LocatedJson node, TokenTable tokens)
    {
        var (prefix, suffix) = (new List<int>(), new List<int>());
        foreach (var part in Flatten(node, "processors"))
        {
            // ByteLevel only moves offsets.
            var type = part["type"].ReadText();
            if (type == "ByteLevel")
                continue;
            if (type != "TemplateProcessing" || prefix.Count + suffix.Count > 0)
                throw MakeUnsupportedError(part, "ByteLevel and one TemplateProcessing");
            var target = prefix;
            foreach (var piece in part["single"].ReadItems())
            {
                if (!piece["Sequence"].IsNull)
                {
                    target = suffix;
                    continue;
                }
                var token = piece["SpecialToken"]["id"].ReadText();
                var ids = part["special_tokens"][token]["ids"].ReadItems().Select(id => id.ReadInteger()).ToList();
                if (ids.Exists(id => id < 0 || id >= tokens.Count))
                    throw part["special_tokens"][token]["ids"].MakeError($"ids from 0 to {tokens.Count - 1}");
                target.AddRange(ids);
            }
        }
        return (prefix, suffix);
    }

    public static Decoding ReadDecoder(LocatedJson node)
    {
        var decoding = new Decoding(false, false, false, LeadingSpace.Keep);
        var supported =
            "ByteLevel, Metaspace, ByteFallback, Fuse, Replace of U+2581 by a space, Strip of one leading space, and Sequence of these";
        if (node.IsNull)
            throw new NotSupportedException(
                $"{node.File}: a tokenizer without a decoder is not supported. Supported decoders are " + $"{supported}"
            );
        foreach (var part in Flatten(node, "decoders"))
        {
            decoding = part["type"].ReadText() switch
            {
                "ByteLevel" => decoding with { ByteLevel = true },
                "ByteFallback" => decoding with { ByteFallback = true },
                "Fuse" => decoding,
                "Replace" when part["pattern"]["String"].ReadTextOrNull() is "\u2581" && part["content"].ReadText() is " " => decoding with
                {
                    SpaceSign = true,
                },
                "Metaspace" when part["replacement"].ReadText() is "\u2581" => decoding with
                {
                    SpaceSign = true,
                    LeadingSpace = ReadPrependRule(part) is null ? LeadingSpace.Keep : LeadingSpace.StripOnce,
                },
                "Strip"
                    when part["content"].ReadText() is " " && part["start"].ReadInteger() is 0 or 1 && part["stop"].ReadInteger() == 0 =>
                    part["start"].ReadInteger() == 1 ? decoding with { LeadingSpace = LeadingSpace.StripOnce } : decoding,
                _ => throw MakeUnsupportedError(part, supported),
            };
        }
        return decoding;
    }

    private static void ReadMetaspace(LocatedJson part, List<SplitRule> rules, List<TextStep> steps)
    {
        var sign = part["replacement"].ReadText();
        if (sign.Length != 1)
            throw part["replacement"].MakeError("one character");
        Prepare(part, rules, steps, new ReplaceCharacterStep(' ', sign[0]));
        if (ReadPrependRule(part) is { } rule)
            steps.Add(new PrependStep(sign, rule));
        if (part["split"].ReadFlag(true))
            rules.Add(new SplitRule(Compile(part, Regex.Escape(sign)), SplitBehavior.MergedWithNext));
    }

    private static PrependRule? ReadPrependRule(LocatedJson metaspace)
    {
        var scheme = metaspace["prepend_scheme"].ReadTextOrNull() ?? (metaspace["add_prefix_space"].ReadFlag(true) ? "always" : "never");
        return scheme switch
        {
            "always" => PrependRule.IfMissing,
            "first" => PrependRule.IfMissingAtStart,
            "never" => null,
            _ => throw metaspace["prepend_scheme"].MakeError("always, first or never"),
        };
    }

    /// <summary>Adds a step that rewrites the text. After a split it would have to rewrite every word, which is not supported.</summary>
    private static void Prepare(LocatedJson part, List<SplitRule> rules, List<TextStep> steps, TextStep step)
    {
        if (rules.Count > 0)
            throw new NotSupportedException(
                $"{part.File}: {part.Path}, a {part["type"].ReadText()} that rewrites text after a step that splits it, is not supported"
            );
        steps.Add(step);
    }

    private static SplitBehavior ReadBehavior(LocatedJson node) =>
        Enum.TryParse<SplitBehavior>(node.ReadText(), out var behavior) && Enum.IsDefined(behavior)
            ? behavior
            : throw node.MakeError(string.Join(", ", Enum.GetNames<SplitBehavior>()));

    private static Regex ReadPattern(LocatedJson node)
    {
        if (node["String"].ReadTextOrNull() is { } text)
            return Compile(node, Regex.Escape(text));
        return Compile(node, node["Regex"].ReadText());
    }

    private static Regex Compile(LocatedJson node, string pattern)
    {
        // Words are shown to the pattern without surrogates; see WordSplitter.
        if (pattern.Any(char.IsSurrogate))
            throw new NotSupportedException(
                $"{node.File}: {node.Path} has a pattern with characters beyond U+FFFF, which is not supported: {pattern}"
            );
        try
        {
            return new Regex(pattern, RegexOptions.Compiled | RegexOptions.CultureInvariant);
        }
        catch (ArgumentException e)
        {
            throw new NotSupportedException($"{node.File}: {node.Path} has a pattern that .NET cannot parse: {e.Message}", e);
        }
    }

    private static IEnumerable<LocatedJson> Flatten(LocatedJson node, string children) =>
        node.IsNull ? []
        : node["type"].ReadText() == "Sequence" ? node[children].ReadItems().SelectMany(child => Flatten(child, children))
        : [node];

    private static NotSupportedException MakeUnsupportedError(LocatedJson node, string supported)
    {
        var text = node.Value.GetRawText();
        return new(
            $"{node.File}: {node.Path} \"{node["type"].ReadText()}\" is not supported in this form. Supported are {supported}. It is "
                + $"{(text.Length > 200 ? text[..200] + "..." : text)}"
        );
    }
}
