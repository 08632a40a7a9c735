using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Tokenization;

/// <summary>Reads what stands around the model in a tokenizer.json: normalizer, pre_tokenizer, post_processor and decoder.</summary>
internal static class TokenizerJsonPipeline
{
    // The pattern of GPT-2, which ByteLevel has built in.
    internal const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>How words are cut.</summary>
    /// <param name="ByteLevel">Whether the model works on bytes.</param>
    /// <param name="Preparation">Rewrites the text before it is cut.</param>
    /// <param name="Splitter">Cuts it; null to leave it whole.</param>
    public sealed record Cutting(bool ByteLevel, TextStep? Preparation, WordSplitter? Splitter);

    /// <summary>How tokens become text.</summary>
    public sealed record Decoding(bool ByteLevel, bool SpaceSign, bool ByteFallback, LeadingSpace LeadingSpace)
    {
        /// <summary>The bytes that a token of the vocabulary stands for.</summary>
        public byte[] Bytes(string token)
        {
            if (ByteLevel)
                return ByteAlphabet.Read(token) ?? Encoding.UTF8.GetBytes(token);
            if (ByteFallback && TokenizerJson.ReadByteToken(token) is { } value)
                return [value];
            return Encoding.UTF8.GetBytes(SpaceSign ? token.Replace('\u2581', ' ') : token);
        }
    }

    public static TextStep? ReadNormalizer(JsonPlace node)
    {
        if (node.IsNull)
            return null;
        switch (node["type"].Text())
        {
            case "NFC":
                return CanonicalForm.C;
            case "NFD":
                return CanonicalForm.D;
            case "Prepend":
                return new PrependStep(node["prepend"].Text(), PrependRule.Always);
            case "Strip":
                return new TrimStep(node["strip_left"].Flag(true), node["strip_right"].Flag(true));
            case "Replace":
                var (from, to) = (node["pattern"]["String"].TextOrNull(), node["content"].Text());
                return from?.Length == 1 && to.Length == 1
                    ? new ReplaceCharacterStep(from[0], to[0])
                    : new ReplacePatternStep(ReadPattern(node["pattern"]), to);
            case "Sequence":
                return new StepSequence(node["normalizers"].Items().Select(ReadNormalizer).OfType<TextStep>().ToList());
            default:
                throw Unsupported(node, "NFC, NFD, Prepend, Replace, Strip and Sequence of these");
        }
    }

    public static Cutting ReadPreTokenizer(JsonPlace node)
    {
        var (byteLevel, steps, rules) = (false, new List<TextStep>(), new List<SplitRule>());
        foreach (var part in Flatten(node, "pretokenizers"))
        {
            switch (part["type"].Text())
            {
                case "ByteLevel":
                    byteLevel = true;
                    if (part["add_prefix_space"].Flag(true))
                        Prepare(part, rules, steps, new PrependStep(" ", PrependRule.WhereMissing));
                    if (part["use_regex"].Flag(true))
                        rules.Add(new SplitRule(Compile(part, Gpt2Pattern), SplitBehavior.Isolated));
                    break;
                case "Metaspace":
                    ReadMetaspace(part, rules, steps);
                    break;
                case "Split":
                    rules.Add(new SplitRule(ReadPattern(part["pattern"]), ReadBehavior(part["behavior"]), part["invert"].Flag()));
                    break;
                case "Digits":
                    rules.Add(
                        new SplitRule(
                            Compile(part, @"\p{N}"),
                            part["individual_digits"].Flag() ? SplitBehavior.Isolated : SplitBehavior.Contiguous
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
                    throw Unsupported(part, "ByteLevel, Split, Digits, Punctuation, Metaspace, WhitespaceSplit and Sequence of these");
            }
        }
        return new(byteLevel, steps.Count == 0 ? null : new StepSequence(steps), rules.Count == 0 ? null : new WordSplitter(rules));
    }

    /// <summary>What the post-processor writes in front of a text and behind it.</summary>
    public static (IReadOnlyList<int> Prefix, IReadOnlyList<int> Suffix) ReadPostProcessor(JsonPlace node, TokenTable tokens)
    {
        var (prefix, suffix) = (new List<int>(), new List<int>());
        foreach (var part in Flatten(node, "processors"))
        {
            // ByteLevel only moves offsets.
            var type = part["type"].Text();
            if (type == "ByteLevel")
                continue;
            if (type != "TemplateProcessing" || prefix.Count + suffix.Count > 0)
                throw Unsupported(part, "ByteLevel and one TemplateProcessing");
            var target = prefix;
            foreach (var piece in part["single"].Items())
            {
                if (!piece["Sequence"].IsNull)
                {
                    target = suffix;
                    continue;
                }
                var token = piece["SpecialToken"]["id"].Text();
                var ids = part["special_tokens"][token]["ids"].Items().Select(id => id.Integer()).ToList();
                if (ids.Exists(id => id < 0 || id >= tokens.Count))
                    throw part["special_tokens"][token]["ids"].Fault($"ids from 0 to {tokens.Count - 1}");
                target.AddRange(ids);
            }
        }
        return (prefix, suffix);
    }

    public static Decoding ReadDecoder(JsonPlace node)
    {
        var decoding = new Decoding(false, false, false, LeadingSpace.Keep);
        var supported =
            "ByteLevel, Metaspace, ByteFallback, Fuse, Replace of U+2581 by a space, Strip of one leading space, and Sequence of these";
        if (node.IsNull)
            throw new NotSupportedException($"{node.File}: a tokenizer without a decoder is not supported; supported are {supported}");
        foreach (var part in Flatten(node, "decoders"))
        {
            decoding = part["type"].Text() switch
            {
                "ByteLevel" => decoding with { ByteLevel = true },
                "ByteFallback" => decoding with { ByteFallback = true },
                "Fuse" => decoding,
                "Replace" when part["pattern"]["String"].TextOrNull() is "\u2581" && part["content"].Text() is " " => decoding with
                {
                    SpaceSign = true,
                },
                "Metaspace" when part["replacement"].Text() is "\u2581" => decoding with
                {
                    SpaceSign = true,
                    LeadingSpace = Prepends(part) is null ? LeadingSpace.Keep : LeadingSpace.StripOnce,
                },
                "Strip" when part["content"].Text() is " " && part["start"].Integer() is 0 or 1 && part["stop"].Integer() == 0 => part[
                    "start"
                ]
                    .Integer() == 1
                    ? decoding with
                    {
                        LeadingSpace = LeadingSpace.StripOnce,
                    }
                    : decoding,
                _ => throw Unsupported(part, supported),
            };
        }
        return decoding;
    }

    private static void ReadMetaspace(JsonPlace part, List<SplitRule> rules, List<TextStep> steps)
    {
        var sign = part["replacement"].Text();
        if (sign.Length != 1)
            throw part["replacement"].Fault("one character");
        Prepare(part, rules, steps, new ReplaceCharacterStep(' ', sign[0]));
        if (Prepends(part) is { } rule)
            steps.Add(new PrependStep(sign, rule));
        if (part["split"].Flag(true))
            rules.Add(new SplitRule(Compile(part, Regex.Escape(sign)), SplitBehavior.MergedWithNext));
    }

    private static PrependRule? Prepends(JsonPlace metaspace)
    {
        var scheme = metaspace["prepend_scheme"].TextOrNull() ?? (metaspace["add_prefix_space"].Flag(true) ? "always" : "never");
        return scheme switch
        {
            "always" => PrependRule.WhereMissing,
            "first" => PrependRule.WhereMissingAtStart,
            "never" => null,
            _ => throw metaspace["prepend_scheme"].Fault("always, first or never"),
        };
    }

    /// <summary>Adds a step that rewrites; once the text is cut it would have to rewrite every word.</summary>
    private static void Prepare(JsonPlace part, List<SplitRule> rules, List<TextStep> steps, TextStep step)
    {
        if (rules.Count > 0)
            throw new NotSupportedException(
                $"{part.File}: {part.Path}, a {part["type"].Text()} that rewrites text behind one that cuts it, is not supported"
            );
        steps.Add(step);
    }

    private static SplitBehavior ReadBehavior(JsonPlace node) =>
        Enum.TryParse<SplitBehavior>(node.Text(), out var behavior) && Enum.IsDefined(behavior)
            ? behavior
            : throw node.Fault(string.Join(", ", Enum.GetNames<SplitBehavior>()));

    private static Regex ReadPattern(JsonPlace node)
    {
        if (node["String"].TextOrNull() is { } text)
            return Compile(node, Regex.Escape(text));
        return Compile(node, node["Regex"].Text());
    }

    private static Regex Compile(JsonPlace node, string pattern)
    {
        // Words are shown to the pattern without surrogates, see WordSplitter.
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
            throw new NotSupportedException($"{node.File}: {node.Path} has a pattern that .NET does not understand: {e.Message}", e);
        }
    }

    private static IEnumerable<JsonPlace> Flatten(JsonPlace node, string children) =>
        node.IsNull ? []
        : node["type"].Text() == "Sequence" ? node[children].Items().SelectMany(child => Flatten(child, children))
        : [node];

    private static NotSupportedException Unsupported(JsonPlace node, string supported)
    {
        var text = node.Value.GetRawText();
        return new(
            $"{node.File}: {node.Path} \"{node["type"].Text()}\" is not supported as it stands; supported are {supported}. It is "
                + $"{(text.Length > 200 ? text[..200] + "..." : text)}"
        );
    }
}
