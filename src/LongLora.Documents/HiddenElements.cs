using System.Text.RegularExpressions;
using AngleSharp.Css;
using AngleSharp.Css.Parser;
using AngleSharp.Dom;

namespace LongLora.Documents;

/// <summary>
/// The elements of a page that its own styles hide (<c>display: none</c>, <c>visibility: hidden</c>): in <c>style</c> attributes and in the
/// rules of <c>style</c> elements, except for those that hold only for some media. Linked style sheets are not read.
/// </summary>
internal static partial class HiddenElements
{
    /// <summary>Finds them. What is inside a hidden element is hidden too.</summary>
    public static IReadOnlySet<IElement> Find(IDocument page)
    {
        var shown = new Dictionary<IElement, (bool IsHidden, bool IsImportant, Priority Weight)>();
        var parser = new CssSelectorParser();
        foreach (var (selector, body) in page.QuerySelectorAll("style").Where(IsForAll).SelectMany(s => ReadRules(s.TextContent)))
        {
            if (Judge(body) is not { } rule || parser.ParseSelector(selector) is not { } parsed)
                continue;
            foreach (var element in page.All.Where(e => parsed.Match(e, null)))
            {
                var isStronger =
                    !shown.TryGetValue(element, out var before)
                    || (rule.IsImportant == before.IsImportant ? parsed.Specificity >= before.Weight : rule.IsImportant);
                if (isStronger)
                    shown[element] = (rule.IsHidden, rule.IsImportant, parsed.Specificity);
            }
        }
        foreach (var element in page.QuerySelectorAll("[style]"))
        {
            if (
                Judge(element.GetAttribute("style")!) is { } own
                && (own.IsImportant || !shown.TryGetValue(element, out var rule) || !rule.IsImportant)
            )
                shown[element] = (own.IsHidden, own.IsImportant, default);
        }
        return shown.Where(s => s.Value.IsHidden).Select(s => s.Key).ToHashSet();
    }

    [GeneratedRegex(@"/\*.*?(?:\*/|$)|<!--|-->", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(
        @"(?<![\w-])(?<name>display|visibility)\s*:\s*(?<value>[a-z-]+)\s*(?<important>!\s*important)?",
        RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture
    )]
    private static partial Regex Declarations();

    private static bool IsForAll(IElement style) =>
        style.GetAttribute("media") is not { Length: > 0 } media
        || media.Contains("all", StringComparison.OrdinalIgnoreCase)
        || media.Contains("screen", StringComparison.OrdinalIgnoreCase);

    // Whether declarations hide; null if they say nothing about it.
    private static (bool IsHidden, bool IsImportant)? Judge(string declarations)
    {
        (bool IsHidden, bool IsImportant)? result = null;
        foreach (Match match in Declarations().Matches(declarations))
        {
            var isHidden = match.Groups["value"].Value.ToLowerInvariant() is "none" or "hidden" or "collapse";
            // Either of the two properties is enough to hide.
            result = (isHidden || (result?.IsHidden == true && match.Groups["name"].Value != "display"), match.Groups["important"].Success);
        }
        return result;
    }

    // Rules outside of @media and other blocks.
    private static IEnumerable<(string Selector, string Body)> ReadRules(string css)
    {
        css = Comment().Replace(css, " ");
        for (var at = 0; at < css.Length; )
        {
            var open = css.IndexOfAny(['{', ';'], at);
            if (open < 0)
                yield break;
            if (css[open] == ';')
            {
                at = open + 1; // @import and the like
                continue;
            }
            var (depth, end) = (1, open + 1);
            for (; end < css.Length && depth > 0; end++)
                depth +=
                    css[end] == '{' ? 1
                    : css[end] == '}' ? -1
                    : 0;
            var selectors = css[at..open].Trim();
            if (!selectors.StartsWith('@'))
            {
                foreach (var selector in selectors.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
                    yield return (selector, css[(open + 1)..Math.Max(open + 1, end - 1)]);
            }
            at = end;
        }
    }
}
