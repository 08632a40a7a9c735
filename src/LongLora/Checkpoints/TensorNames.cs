namespace LongLora.Checkpoints;

/// <summary>Explains whose tensor names a checkpoint has, if they are not those of a Hugging Face model.</summary>
internal static class TensorNames
{
    private const int Shown = 3;

    /// <summary>A sentence that says what to do about a checkpoint's names, or lists a few of them if it cannot tell.</summary>
    /// <param name="names">The names in the checkpoint.</param>
    public static string Advise(IEnumerable<string> names)
    {
        var all = names.Order(StringComparer.Ordinal).ToList();
        if (IsMeta(all))
            return "It has Meta's own names, such as 'tok_embeddings.weight'. Convert it to Hugging Face's layout first, with the "
                + "script convert_llama_weights_to_hf.py of transformers.";
        return all.Count == 0
            ? "It contains no tensors."
            : $"It has {string.Join(", ", all.Take(Shown).Select(n => $"'{n}'"))}"
                + $"{(all.Count > Shown ? $" and {all.Count - Shown:N0} more" : "")}.";
    }

    /// <summary>Whether these are the names of Meta's own Llama checkpoints.</summary>
    /// <param name="names">The names in the checkpoint.</param>
    public static bool IsMeta(IEnumerable<string> names) => names.Contains("tok_embeddings.weight");
}
