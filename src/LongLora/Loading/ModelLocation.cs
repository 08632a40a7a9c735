using LongLora.Checkpoints;
using LongLora.Runtime;

namespace LongLora.Loading;

/// <summary>Where a model is that a text names: a folder, a file, or a name in the stores of other programs. No network is asked.</summary>
/// <param name="Path">A Hugging Face folder or a GGUF file. What is wrong there is told when it is opened.</param>
/// <param name="Name">A short name for people; null for that of the file or folder.</param>
/// <param name="Reference">What other files call it: the name without a path where it has one.</param>
/// <param name="Pinned">A text that means these files and no later ones: a branch may move on.</param>
internal sealed record ModelLocation(string Path, string? Name, string Reference, string Pinned)
{
    /// <summary>Finds a model.</summary>
    /// <param name="model">
    /// A path; <c>org/name</c> of the Hugging Face Hub, with <c>@revision</c> or <c>:FILE</c> of a GGUF file behind it; or
    /// <c>ollama:name</c>. A path that exists comes first.
    /// </param>
    /// <exception cref="CheckpointException">It is in none of these places, or not all of it; the message says how to get it.</exception>
    public static ModelLocation Find(string model)
    {
        if (Directory.Exists(model))
            return OfPath(
                !File.Exists(System.IO.Path.Combine(model, CheckpointDirectory.ConfigFile))
                && GgufFolder.Find(model, null, model) is { } file
                    ? file
                    : model
            );
        if (File.Exists(model))
            return OfPath(model);
        if (model.StartsWith(OllamaStore.Prefix, StringComparison.Ordinal))
        {
            var name = model[OllamaStore.Prefix.Length..];
            var blob = OllamaStore.Default.Find(name);
            return new(blob, name.Split('/')[^1].Split(':')[0], model, blob);
        }
        if (HubName.Parse(model) is not { } hub)
            return OfPath(model);
        var (path, commit) = HubCache.Default.FindModel(hub);
        return new(path, hub.Repository.Split('/')[1], hub.Repository, (hub with { Revision = commit }).ToString());
    }

    private static ModelLocation OfPath(string path) => new(path, null, path, path);
}
