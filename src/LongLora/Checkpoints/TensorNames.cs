namespace LongLora.Checkpoints;

/// <summary>Says whose names the tensors of a checkpoint have, where they are not those of a Hugging Face model.</summary>
public static class TensorNames
{
    private const int Shown = 3;

    /// <summary>What to do about a checkpoint's names, or a few of them where they tell nothing; a sentence.</summary>
    /// <param name="names">The names that it has.</param>
    public static string Advise(IEnumerable<string> names)
    {
        var all = names.Order(StringComparer.Ordinal).ToList();
        if (IsMeta(all))
            return "It has Meta's own names, such as 'tok_embeddings.weight'. Convert it to Hugging Face's layout first, with the "
                + "script convert_llama_weights_to_hf.py of transformers.";
        var more = all.Count > Shown ? $" and {all.Count - Shown:N0} more" : "";
        return all.Count == 0 ? "It has no tensor at all." : $"It has {string.Join(", ", all.Take(Shown).Select(n => $"'{n}'"))}{more}.";
    }

    /// <summary>Whether these are the names of Meta's own Llama checkpoints.</summary>
    /// <param name="names">The names that it has.</param>
    public static bool IsMeta(IEnumerable<string> names) => names.Contains("tok_embeddings.weight");
}
