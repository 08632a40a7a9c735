using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Opens the tokenizer of a Hugging Face model folder. A SentencePiece <c>tokenizer.model</c> is preferred: it is what the model was
/// trained with, while the <c>tokenizer.json</c> beside it is a conversion, which in published folders is at times that of another model.
/// <c>tokenizer.json</c> is used where there is no tokenizer.model (Llama 3, Qwen, GPT-NeoX), where that file is of another kind (Meta's
/// own for Llama 3), or where it needs something that is not supported here.
/// <para>
/// BOS, EOS, PAD and further added tokens come from <c>tokenizer_config.json</c>, <c>special_tokens_map.json</c> and
/// <c>added_tokens.json</c>;
/// <c>add_bos_token</c> and <c>add_eos_token</c> overrule the template. Tokenizers may be used by several threads at once.
/// </para>
/// </summary>
public static class TokenizerLoader
{
    /// <summary>Opens the tokenizer of a model folder.</summary>
    /// <param name="modelDirectory">Folder with <c>tokenizer.json</c> or <c>tokenizer.model</c>.</param>
    /// <exception cref="CheckpointException">
    /// The folder has no tokenizer, a file is damaged, or a component is not supported; the message names it.
    /// </exception>
    public static ITokenizer Load(string modelDirectory)
    {
        if (!Directory.Exists(modelDirectory))
            throw new CheckpointException($"{modelDirectory} is not a folder. Give the folder of a Hugging Face model.");
        return LoadIfPresent(modelDirectory)
            ?? throw new CheckpointException(
                $"{modelDirectory} has no tokenizer: neither tokenizer.json nor tokenizer.model. Copy the one that the model was "
                    + $"trained with into the folder."
            );
    }

    /// <summary>
    /// Opens the tokenizer of a model folder, or returns null where the folder has none; a model can then only be given token ids.
    /// </summary>
    /// <param name="modelDirectory">The folder.</param>
    /// <exception cref="CheckpointException">A file is damaged, or a component is not supported.</exception>
    public static ITokenizer? LoadIfPresent(string modelDirectory)
    {
        var json = Path.Combine(modelDirectory, "tokenizer.json");
        var model = Path.Combine(modelDirectory, "tokenizer.model");
        var (hasJson, hasModel) = (File.Exists(json), File.Exists(model));
        if (!hasModel && !hasJson)
            return null;
        var settings = TokenizerSettings.Read(modelDirectory);
        try
        {
            return hasModel && (!hasJson || SentencePieceFile.IsLikely(model))
                ? LoadModel(model, hasJson ? json : null, settings)
                : TokenizerJson.Load(json, settings);
        }
        catch (NotSupportedException e)
        {
            throw new CheckpointException($"{e.Message}.", e);
        }
        catch (InvalidOperationException e) when (e.Source?.StartsWith("System.Text.Json", StringComparison.Ordinal) == true)
        {
            throw new CheckpointException(
                $"{modelDirectory}: a file of the tokenizer holds text that is not Unicode: {e.Message} Fetch the files again.",
                e
            );
        }
    }

    private static TextTokenizer LoadModel(string model, string? json, TokenizerSettings settings)
    {
        try
        {
            return SentencePieceTokenizer.Load(model, settings);
        }
        catch (NotSupportedException) when (json is not null)
        {
            return TokenizerJson.Load(json, settings);
        }
    }
}
