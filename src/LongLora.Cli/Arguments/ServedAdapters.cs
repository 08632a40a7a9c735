using System.CommandLine;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary><c>--adapter</c> of a server: one adapter on the model, or several beside it, each with a name.</summary>
internal sealed class ServedAdapters
{
    private readonly Option<string[]> _adapters = new(AdapterOption.Flag)
    {
        Description =
            "folder of a PEFT adapter on the model; NAME=DIR serves it beside the model under that name, repeated for further ones",
        HelpName = "[NAME=]DIR",
        AllowMultipleArgumentsPerToken = true,
    };
    private readonly Option<string> _name = new("--served-model-name")
    {
        Description = "name of the model for clients [default: that of its folder]",
        HelpName = "NAME",
    };

    internal void AddTo(Command command)
    {
        command.Options.Insert(1, _adapters);
        command.Options.Add(_name);
    }

    /// <summary>The models to open, that of the server's name first.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="model">The model without an adapter.</param>
    /// <exception cref="ConfigurationException">Two have the same name, or several have none.</exception>
    internal IReadOnlyList<ChatModelOptions> Read(ParseResult parsed, ChatModelOptions model)
    {
        var adapters = (parsed.GetValue(_adapters) ?? []).Select(Split).ToList();
        var unnamed = adapters.Where(a => a.Name is null).Select(a => a.Folder).ToList();
        if (unnamed.Count > 1)
            throw new ConfigurationException(
                $"Cannot put {unnamed.Count} adapters on the model at once ({string.Join(", ", unnamed)}). Serve them beside it with "
                    + "--adapter NAME=DIR."
            );
        List<ChatModelOptions> models =
        [
            model with
            {
                Name = parsed.GetValue(_name),
                Adapter = unnamed.FirstOrDefault(),
                // What it says of adapters is for those beside it.
                AdapterReading = unnamed.Count == 0 && adapters.Count > 0 ? null : model.AdapterReading,
            },
            .. adapters.Where(a => a.Name is not null).Select(a => model with { Name = a.Name, Adapter = a.Folder }),
        ];
        var first = models[0].Name ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(model.Model));
        if (models.Skip(1).Select(m => m.Name).Prepend(first).GroupBy(name => name).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new ConfigurationException($"Two models would have the name '{twice.Key}'. Give each a name of its own.");
        return models;
    }

    // A folder may have the sign in its own name.
    private static (string? Name, string Folder) Split(string text) =>
        text.IndexOf('=', StringComparison.Ordinal) is > 0 and var at && !Directory.Exists(text)
            ? (text[..at], text[(at + 1)..])
            : (null, text);
}
