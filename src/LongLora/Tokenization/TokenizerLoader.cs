using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Opens the tokenizer of a Hugging Face model folder. A SentencePiece <c>tokenizer.model</c> is preferred, because the model was trained
/// with it. The <c>tokenizer.json</c> next to it is a conversion. The two are compared: added tokens that only the conversion has are taken
/// from it, and files that contradict each other are refused. <c>tokenizer.json</c> is used if there is no tokenizer.model (Llama 3, Qwen,
/// GPT-NeoX), if that file has another format (Meta's own for Llama 3) or a smaller vocabulary, or if it needs something that is not
/// supported here.
/// <para>
/// BOS, EOS, PAD and further added tokens come from <c>tokenizer_config.json</c>, <c>special_tokens_map.json</c> and
/// <c>added_tokens.json</c>. <c>add_bos_token</c> and <c>add_eos_token</c> take precedence over the template. Tokenizers are thread-safe.
/// </para>
/// </summary>
public static class TokenizerLoader
{
    /// <summary>Opens the tokenizer of a model folder.</summary>
    /// <param name="modelDirectory">Folder with <c>tokenizer.json</c> or <c>tokenizer.model</c>.</param>
    /// <exception cref="CheckpointException">
    /// The folder has no tokenizer, a file is damaged, two files contradict each other, or a component is not supported. The message names
    /// it.
    /// </exception>
    public static ITokenizer Load(string modelDirectory)
    {
        if (!Directory.Exists(modelDirectory))
            throw new CheckpointException($"{modelDirectory} is not a folder. Give the folder of a Hugging Face model.");
        return LoadIfPresent(modelDirectory)
            ?? throw new CheckpointException(
                $"{modelDirectory} has no tokenizer: it contains neither tokenizer.json nor tokenizer.model. Copy the tokenizer "
                    + $"that the model was "
                    + $"trained with into the folder."
            );
    }

    /// <summary>
    /// Opens the tokenizer of a model folder; null if the folder has none. Then the model accepts only token ids.
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
                $"{modelDirectory}: a file of the tokenizer contains text that is not Unicode: {e.Message} Download the files again.",
                e
            );
        }
    }

    private static TextTokenizer LoadModel(string model, string? json, TokenizerSettings settings)
    {
        try
        {
            var file = SentencePieceFile.Read(model);
            if (json is null)
                return SentencePieceTokenizer.Build(file, model, settings);
            SentencePieceTokenizer.RequireSupported(file, model); // before two files are compared of which only one can be used
            return TokenizerPair.Join(file, model, json, settings)
                ? SentencePieceTokenizer.Build(file, model, settings)
                : TokenizerJson.Load(json, settings);
        }
        catch (NotSupportedException) when (json is not null)
        {
            return TokenizerJson.Load(json, settings);
        }
    }
}
