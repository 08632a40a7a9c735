using System.Text.RegularExpressions;

namespace LongLora.Loading;

/// <summary>The name of a repository on the Hugging Face Hub: <c>org/name</c>, <c>org/name@revision</c>, <c>org/name:FILE</c>.</summary>
/// <param name="Repository">Organization and name with a slash between them.</param>
/// <param name="Revision">Branch, tag or commit; null for <see cref="DefaultRevision"/>.</param>
/// <param name="Part">With several GGUF files: a file's name, or the part of it that names its quantization; null for none.</param>
/// <param name="IsDataset">Whether it is a data set instead of a model.</param>
internal sealed partial record HubName(string Repository, string? Revision = null, string? Part = null, bool IsDataset = false)
{
    /// <summary>The branch that is meant where none is named.</summary>
    public const string DefaultRevision = "main";

    /// <summary>The name of the folder of such a repository in a cache, such as <c>models--org--name</c>.</summary>
    public string Folder => $"{(IsDataset ? "datasets" : "models")}--{Repository.Replace("/", "--", StringComparison.Ordinal)}";

    /// <summary>Model or data set, in words.</summary>
    public string Kind => IsDataset ? "data set" : "model";

    /// <summary>The command that gets it.</summary>
    public string PullCommand =>
        $"longlora pull {Repository}{(Revision is null ? "" : "@" + Revision)}{(IsDataset ? " --dataset" : "")}"
        + (Part is null ? "" : $" --file {Part}");

    /// <summary>Reads a name; null if the text has another form, such as that of a path.</summary>
    /// <param name="text">The text.</param>
    /// <param name="isDataset">Whether a data set is meant.</param>
    public static HubName? Parse(string text, bool isDataset = false)
    {
        var match = Pattern().Match(text);
        if (
            !match.Success
            || text.Contains("..", StringComparison.Ordinal)
            || match.Groups["repository"].Value is var repository
                && (repository.Contains("--", StringComparison.Ordinal) || repository.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
        )
            return null;
        string? Group(string name) => match.Groups[name] is { Success: true, Value: var value } ? value : null;
        return new(match.Groups["repository"].Value, Group("revision"), Group("part"), isDataset);
    }

    /// <inheritdoc/>
    public override string ToString() => Repository + (Revision is null ? "" : "@" + Revision) + (Part is null ? "" : ":" + Part);

    [GeneratedRegex(@"^(?<repository>\w[\w.-]{0,95}/\w[\w.-]{0,95})(@(?<revision>[\w.-]+(/[\w.-]+)*))?(:(?<part>[\w./-]+))?$")]
    private static partial Regex Pattern();
}
