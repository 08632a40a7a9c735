using System.Reflection;
using LongLora.Data;
using LongLora.Runtime;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace LongLora.Options;

/// <summary>A run's options as YAML, with one key per option.</summary>
public static class Recipe
{
    /// <summary>The version of this program, with the commit if the build knows it.</summary>
    public static string Version { get; } =
        typeof(Recipe).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    /// <summary>Reads a recipe; its keys override the given options.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">Options for the keys that the recipe does not have.</param>
    /// <exception cref="ConfigurationException">
    /// The file is missing or not YAML, or a key or value is unknown; with file and line.
    /// </exception>
    public static FineTuneOptions ReadFile(string path, FineTuneOptions options)
    {
        try
        {
            return Parse(Utf8TextReader.ReadFile(path), path, options);
        }
        catch (DataException e)
        {
            throw new ConfigurationException(e.Message, e);
        }
    }

    /// <summary>Reads the text of a recipe.</summary>
    /// <param name="yaml">The text.</param>
    /// <param name="source">Where it came from, for messages.</param>
    /// <param name="options">Options for the keys that the recipe does not have.</param>
    public static FineTuneOptions Parse(string yaml, string source, FineTuneOptions options)
    {
        YamlStream stream;
        try
        {
            stream = RecipeYaml.Load(yaml);
        }
        catch (YamlException e)
        {
            throw new ConfigurationException(
                $"{source}:{e.Start.Line}: this is not valid YAML: {(e.InnerException as YamlException ?? e).Message}",
                e
            );
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException or NullReferenceException)
        {
            // The parser throws these for brackets that are not closed, and for aliases where it expects none.
            throw new ConfigurationException(
                $"{source} is not valid YAML: a bracket or a quote is not closed, or an alias (*name) stands where none can be.",
                e
            );
        }
        if (stream.Documents.Count == 0)
            throw new ConfigurationException($"{source} is empty. A recipe has lines such as 'context: 8192'.");
        if (stream.Documents.Count > 1 || stream.Documents[0].RootNode is not YamlMappingNode root)
            throw new ConfigurationException($"{source} must contain one YAML document with lines such as 'context: 8192'.");
        var problems = new List<string>();
        foreach (var (key, value) in root.Children)
        {
            try
            {
                var option = FineTuneOptionTable.Find(((YamlScalarNode)key).Value ?? "");
                options = option.Apply(options, Text(option, value));
            }
            catch (Exception e) when (e is ConfigurationException or InvalidCastException)
            {
                problems.Add($"{source}:{key.Start.Line}: {e.Message}");
            }
        }
        return problems.Count == 0 ? options : throw new ConfigurationException(string.Join(Environment.NewLine, problems));
    }

    /// <summary>Writes a recipe with every option, which repeats the run.</summary>
    /// <param name="options">The options.</param>
    /// <param name="remark">A comment for the first line.</param>
    public static string Write(FineTuneOptions options, string remark)
    {
        var root = new YamlMappingNode();
        foreach (var option in FineTuneOptionTable.All)
        {
            var node = option.Value(options) switch
            {
                null => (YamlNode)new YamlScalarNode("null"),
                IReadOnlyList<string> list => new YamlSequenceNode(list.Select(Scalar)),
                string text => Scalar(text),
                _ => new YamlScalarNode(option.Format(options)),
            };
            root.Add(option.Name, node);
        }
        using var writer = new StringWriter { NewLine = "\n" };
        writer.WriteLine($"# LongLora {Version}; {remark}.");
        writer.WriteLine(
            $"# Run again with: longlora {(options.Data.Task == TrainingTask.Sft ? "sft" : "train")} --recipe recipe.yaml --output NEW_DIR"
        );
        new YamlStream(new YamlDocument(root)).Save(writer, assignAnchors: false);
        return writer.ToString().Replace("\n...\n", "\n", StringComparison.Ordinal);
    }

    private static YamlScalarNode Scalar(string text) => new(text) { Style = IsNull(text) ? ScalarStyle.DoubleQuoted : ScalarStyle.Any };

    // What YAML takes for "no value" unless it is quoted.
    private static bool IsNull(string? text) => text is null or "" or "null" or "~";

    private static string Text(FineTuneOption option, YamlNode node) =>
        (node, option.IsList) switch
        {
            (YamlScalarNode scalar, _) => scalar.Style == ScalarStyle.Plain && IsNull(scalar.Value) ? "" : scalar.Value ?? "",
            (YamlSequenceNode list, true) when list.Children.All(c => c is YamlScalarNode || option.Name == "data") => string.Join(
                '\n',
                list.Children.Select(Item)
            ),
            _ => throw new ConfigurationException($"{option.Name} must be {(option.IsList ? "a list of strings" : "a single value")}."),
        };

    // A text, or data with a weight: {path: books, weight: 0.5}.
    private static string? Item(YamlNode node)
    {
        if (node is YamlScalarNode scalar)
            return scalar.Value;
        var fields = (node as YamlMappingNode)?.Children.ToDictionary(
            p => (p.Key as YamlScalarNode)?.Value ?? "",
            p => (p.Value as YamlScalarNode)?.Value ?? ""
        );
        if (
            fields is null
            || !fields.Remove("path", out var path)
            || !fields.Remove("weight", out var weight)
            || fields.Count > 0
            || !NumberText.TryParseReal(weight, out var value)
        )
            throw new ConfigurationException("data must be a list of paths, or of {path: PATH, weight: NUMBER}.");
        return new DataSource(path, value).ToString();
    }
}
