using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>The tokenizers of the shared material, each opened once.</summary>
internal static class Tokenizers
{
    private static readonly Dictionary<(string, string), ITokenizer> Opened = [];

    /// <summary>A tokenizer by its folder and the file to use; skips the test where it is absent.</summary>
    public static ITokenizer Open(string folder, string file)
    {
        var path =
            folder == "stories260K" ? SharedMaterial.Shared("models", "stories260K-hf") : SharedMaterial.Shared("tokenizers", folder);
        lock (Opened)
        {
            if (!Opened.TryGetValue((folder, file), out var tokenizer))
            {
                // What the loader does, with the choice of the file taken from it.
                var settings = TokenizerSettings.Read(path);
                tokenizer =
                    file == "tokenizer.json"
                        ? TokenizerJson.Load(Path.Combine(path, file), settings)
                        : SentencePieceTokenizer.Build(
                            SentencePieceFile.Read(Path.Combine(path, file)),
                            Path.Combine(path, file),
                            settings
                        );
                Opened.Add((folder, file), tokenizer);
            }
            return tokenizer;
        }
    }
}
