using System.Text;
using System.Text.RegularExpressions;
using System.Xml;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// Reads .NET's XML documentation as plain text: one document per type, with its members one after the other, each with its signature and
/// description. The SDK contains about 30 MB of it (<c>packs/Microsoft.NETCore.App.Ref</c>), which is real technical text on every machine
/// that builds this project.
/// </summary>
public static partial class XmlDocumentation
{
    /// <summary>The documents of one file, in file order.</summary>
    /// <param name="path">An XML documentation file.</param>
    /// <exception cref="DataException">The file cannot be read or has another type.</exception>
    public static IEnumerable<(string Text, string Origin)> Read(string path)
    {
        var document = Load(path);
        var members = document.SelectNodes("/doc/members/member")
            ?? throw new DataException($"{path} has no <members>, so it is not .NET's XML documentation.");
        var (text, type) = (new StringBuilder(), "");
        foreach (XmlElement member in members)
        {
            var (owner, line) = Describe(member);
            if (owner != type && text.Length > 0)
            {
                yield return (text.ToString(), $"{path}:{type}");
                text.Clear();
            }
            type = owner;
            text.Append(line);
        }
        if (text.Length > 0)
            yield return (text.ToString(), $"{path}:{type}");
    }

    /// <summary>
    /// The files of the newest SDK documentation below a .NET root, in the order of their names; empty if there are none.
    /// </summary>
    /// <param name="root">
    /// The folder of <c>dotnet</c>; null for the one that runs this process, or else the program's own folder, where
    /// <c>build/publish.sh</c> puts them for machines without an SDK.
    /// </param>
    public static IReadOnlyList<string> FindSdkFiles(string? root = null)
    {
        if (root is not null)
            return FindFiles(root);
        var runtime = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        var files = FindFiles(Path.GetFullPath(Path.Combine(runtime, "..", "..", "..")));
        return files.Count > 0 ? files : FindFiles(AppContext.BaseDirectory);
    }

    private static IReadOnlyList<string> FindFiles(string root)
    {
        var pack = Path.Combine(root, "packs", "Microsoft.NETCore.App.Ref");
        if (!Directory.Exists(pack))
            return [];
        var newest = Directory
            .EnumerateDirectories(pack)
            .OrderBy(p => Version.TryParse(Path.GetFileName(p), out var v) ? v : new Version())
            .LastOrDefault();
        return newest is null
            ? []
            : [.. Directory.EnumerateFiles(newest, "*.xml", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
    }

    private static XmlDocument Load(string path)
    {
        try
        {
            var document = new XmlDocument { XmlResolver = null };
            using var reader = XmlReader.Create(
                path,
                new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, IgnoreWhitespace = false }
            );
            document.Load(reader);
            return document;
        }
        catch (Exception e) when (e is XmlException or IOException or UnauthorizedAccessException)
        {
            throw new DataException($"Cannot read {path} as XML: {e.Message}", e);
        }
    }

    // "M:System.String.Join(System.Char,System.String[])" -> the type System.String, and a paragraph about Join.
    private static (string Type, string Paragraph) Describe(XmlElement member)
    {
        var name = member.GetAttribute("name");
        var (kind, signature) = name.Length > 2 && name[1] == ':' ? (name[0], name[2..]) : ('T', name);
        var plain = SimplifySignature(signature);
        var end = plain.IndexOf('(', StringComparison.Ordinal) is var open and >= 0 ? open : plain.Length;
        var dot = plain.LastIndexOf('.', end - 1 < 0 ? 0 : end - 1);
        var type = kind == 'T' || dot < 0 ? plain : plain[..dot];
        var text = new StringBuilder(kind == 'T' ? plain : plain[(dot + 1)..]).Append('\n');
        foreach (var part in member.ChildNodes.OfType<XmlElement>())
        {
            var words = MatchSpace().Replace(ReadWords(part), " ").Trim();
            if (words.Length > 0)
                text.Append(GetLabel(part)).Append(words).Append('\n');
        }
        return (type, text.Append('\n').ToString());
    }

    private static string GetLabel(XmlElement part) =>
        part.Name switch
        {
            "param" or "typeparam" => part.GetAttribute("name") + ": ",
            "returns" => "Returns: ",
            "value" => "Value: ",
            "exception" => ShortenName(part.GetAttribute("cref")) + ": ",
            _ => "",
        };

    private static string ReadWords(XmlNode node)
    {
        var text = new StringBuilder();
        foreach (XmlNode child in node.ChildNodes)
        {
            text.Append(
                child switch
                {
                    XmlCharacterData data => data.Value,
                    XmlElement { Name: "see" or "seealso" } link when link.InnerText.Length == 0 => link.HasAttribute("langword")
                        ? link.GetAttribute("langword")
                        : ShortenName(link.GetAttribute("cref")),
                    XmlElement { Name: "paramref" or "typeparamref" } named => named.GetAttribute("name"),
                    XmlElement { Name: "para" or "item" or "br" } block => " " + ReadWords(block) + " ",
                    _ => ReadWords(child),
                }
            );
        }
        return text.ToString();
    }

    // "T:System.Collections.Generic.List`1" -> "List"
    private static string ShortenName(string reference)
    {
        var plain = SimplifySignature(reference.Length > 2 && reference[1] == ':' ? reference[2..] : reference);
        var end = plain.IndexOf('(', StringComparison.Ordinal) is var open and >= 0 ? open : plain.Length;
        var dots = plain[..end].Split('.');
        return reference.StartsWith("T:", StringComparison.Ordinal) || dots.Length < 2 ? dots[^1] : $"{dots[^2]}.{dots[^1]}";
    }

    private static string SimplifySignature(string signature) =>
        MatchArity().Replace(signature, "").Replace("#ctor", "ctor", StringComparison.Ordinal);

    [GeneratedRegex(@"``?\d+|@")]
    private static partial Regex MatchArity();

    [GeneratedRegex(@"\s+")]
    private static partial Regex MatchSpace();
}
