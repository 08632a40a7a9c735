using LongLora.Generation;

namespace LongLora.Server;

/// <summary>The models of a server by name. The server can listen before they are loaded.</summary>
internal sealed class ServedModels
{
    private volatile IReadOnlyList<ChatModel> _models = [];

    /// <summary>Whether there is anything to answer with.</summary>
    internal bool IsLoaded => _models.Count > 0;

    /// <summary>When the server began.</summary>
    internal DateTimeOffset Started { get; } = DateTimeOffset.UtcNow;

    /// <summary>All models, the base first.</summary>
    /// <exception cref="ApiException">They are still being loaded.</exception>
    internal IReadOnlyList<ChatModel> All =>
        IsLoaded ? _models : throw new ApiException(503, "The model is still being loaded; try again later.", code: "loading");

    /// <summary>Answers that are generated together; 1 while nothing is loaded.</summary>
    internal int ParallelAnswers => _models is [var first, ..] ? first.ParallelAnswers : 1;

    /// <summary>Begins to answer.</summary>
    internal void Set(IReadOnlyList<ChatModel> models) => _models = models;

    /// <summary>The model of a request. A server of one model answers under any name, because many clients insist on one.</summary>
    /// <exception cref="ApiException">There is no model with this name.</exception>
    internal ChatModel Choose(RequestFields fields) => Choose(fields.FindText("model"));

    /// <inheritdoc cref="Choose(RequestFields)"/>
    internal ChatModel Choose(string? name) => name is not null && All.Count > 1 ? Find(name) : All[0];

    /// <summary>The model with a name.</summary>
    /// <exception cref="ApiException">There is none.</exception>
    internal ChatModel Find(string name) =>
        All.FirstOrDefault(m => m.Name == name)
        ?? throw new ApiException(
            404,
            $"There is no model '{name}'; there {(All.Count == 1 ? "is" : "are")} {string.Join(", ", All.Select(m => $"'{m.Name}'"))}.",
            "model",
            "model_not_found"
        );
}
