namespace LongLora.Checkpoints;

/// <summary>
/// Which tensors of a multimodal checkpoint belong to its language model, and their names in a text model. Published files have
/// <c>language_model</c> before or after <c>model</c>.
/// </summary>
internal static class TextPart
{
    private static readonly (string Stored, string Own)[] s_prefixes =
    [
        ("language_model.model.", "model."),
        ("language_model.lm_head.", "lm_head."),
        ("model.language_model.", "model."),
        ("lm_head.", "lm_head."),
    ];

    /// <summary>Whether these are the names of a checkpoint with a language model and other parts.</summary>
    internal static bool IsIn(IEnumerable<string> names) =>
        names.Any(n => s_prefixes.Take(3).Any(p => n.StartsWith(p.Stored, StringComparison.Ordinal)));

    /// <summary>The name of a tensor in a text model; null if it belongs to another part.</summary>
    internal static string? GetName(string stored)
    {
        foreach (var (prefix, own) in s_prefixes)
        {
            if (stored.StartsWith(prefix, StringComparison.Ordinal))
                return own + stored[prefix.Length..];
        }
        return null;
    }
}
