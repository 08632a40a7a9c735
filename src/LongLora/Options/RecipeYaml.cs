using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.RepresentationModel;

namespace LongLora.Options;

/// <summary>
/// Loads YAML as far as recipes need it. The library walks through nested values by recursion, and through an alias (<c>*name</c>) into
/// what it stands for, which may be what it stands in. So nesting is limited, and aliases are refused: a recipe has nothing to repeat.
/// </summary>
internal static class RecipeYaml
{
    private const int Deepest = 20;

    /// <summary>The documents of a text.</summary>
    /// <exception cref="YamlException">It is not YAML, or not of this kind; with the place.</exception>
    public static YamlStream Load(string yaml)
    {
        Check(yaml);
        var stream = new YamlStream();
        stream.Load(new StringReader(yaml));
        return stream;
    }

    // Event by event, without recursion.
    private static void Check(string yaml)
    {
        var parser = new Parser(new StringReader(yaml));
        var depth = 0;
        try
        {
            while (parser.MoveNext())
            {
                var at = parser.Current!;
                if (at is AnchorAlias alias)
                    throw new YamlException(at.Start, at.End, $"a recipe cannot use an alias (*{alias.Value}). Write the value itself.");
                depth += at.NestingIncrease;
                if (depth > Deepest)
                    throw new YamlException(at.Start, at.End, $"values are nested more than {Deepest} deep.");
            }
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException or NullReferenceException or IndexOutOfRangeException)
        {
            // The library has no message for some texts.
            var at = parser.Current?.End ?? Mark.Empty;
            throw new YamlException(at, at, "a bracket or a quotation mark is not closed.", e);
        }
    }
}
