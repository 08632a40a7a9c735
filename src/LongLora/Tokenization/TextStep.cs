using System.Text.RegularExpressions;

namespace LongLora.Tokenization;

/// <summary>
/// A step that rewrites a text before it is split into words, such as "spaces become U+2581". Immutable and thread-safe.
/// </summary>
internal abstract class TextStep
{
    /// <summary>Rewrites <paramref name="text"/>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="atStart">Whether this is the start of the tokenizer's input, and not text after an added token.</param>
    /// <param name="output">An empty buffer for the result.</param>
    /// <returns>False if the text does not change; then nothing is written.</returns>
    public abstract bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output);

    /// <summary>The rewritten text as a string. Null means no step.</summary>
    public static string Rewrite(TextStep? step, string text)
    {
        using var output = new TextBuffer();
        return step is not null && step.Apply(text, true, output) ? output.Text.ToString() : text;
    }
}

/// <summary>Several steps, one after the other.</summary>
internal sealed class StepSequence(IReadOnlyList<TextStep> steps) : TextStep
{
    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        using var other = new TextBuffer();
        var (changed, current, next) = (false, other, output);
        foreach (var step in steps)
        {
            next.Truncate(0);
            if (!step.Apply(changed ? current.Text : text, atStart, next))
                continue;
            changed = true;
            (current, next) = (next, current);
        }
        if (changed && current != output)
        {
            output.Truncate(0);
            output.Append(current.Text);
        }
        return changed;
    }
}

/// <summary>When <see cref="PrependStep"/> writes its prefix.</summary>
internal enum PrependRule
{
    /// <summary>Before every text that is not empty.</summary>
    Always,

    /// <summary>If the text does not already start with the prefix.</summary>
    IfMissing,

    /// <summary>Like <see cref="IfMissing"/>, but only at the start of the whole text.</summary>
    IfMissingAtStart,
}

/// <summary>Writes a prefix before the text.</summary>
internal sealed class PrependStep(string prefix, PrependRule rule) : TextStep
{
    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        if (
            text.IsEmpty
            || (rule != PrependRule.Always && text.StartsWith(prefix, StringComparison.Ordinal))
            || (rule == PrependRule.IfMissingAtStart && !atStart)
        )
            return false;
        output.Append(prefix);
        output.Append(text);
        return true;
    }
}

/// <summary>Replaces a character by another one at the speed of memory. This is the common case: a space by U+2581.</summary>
internal sealed class ReplaceCharacterStep(char from, char to) : TextStep
{
    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        if (!text.Contains(from))
            return false;
        text.Replace(output.Extend(text.Length), from, to);
        return true;
    }
}

/// <summary>Replaces every match of a pattern by a fixed text.</summary>
internal sealed class ReplacePatternStep(Regex pattern, string to) : TextStep
{
    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        var copied = 0;
        foreach (var match in pattern.EnumerateMatches(text))
        {
            output.Append(text[copied..match.Index]);
            output.Append(to);
            copied = match.Index + match.Length;
        }
        if (output.Length == 0 && copied == 0)
            return false;
        output.Append(text[copied..]);
        return true;
    }
}

/// <summary>Removes white space at the ends of the text.</summary>
internal sealed class TrimStep(bool left, bool right) : TextStep
{
    /// <inheritdoc/>
    public override bool Apply(ReadOnlySpan<char> text, bool atStart, TextBuffer output)
    {
        var trimmed = left ? text.TrimStart() : text;
        trimmed = right ? trimmed.TrimEnd() : trimmed;
        if (trimmed.Length == text.Length)
            return false;
        output.Append(trimmed);
        return true;
    }
}
