using System.Security.Cryptography;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Documents.Corpus;

/// <summary>
/// The tokens of documents as a corpus contains them: BOS before each document, as in LongLoRA, or EOS after each document if the model has
/// no BOS. Thread-safe.
/// </summary>
internal sealed class CorpusTokenizer
{
    private static readonly string[] s_files =
    [
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ];

    private readonly DocumentTokenizer _documents;
    private readonly int? _begin,
        _end;
    private readonly int _vocabularySize;

    /// <summary>Opens the tokenizer of a model folder or of a GGUF file.</summary>
    /// <exception cref="CheckpointException">There is no readable tokenizer.</exception>
    public CorpusTokenizer(string model)
    {
        model = ModelLocation.Find(model).Path;
        string digest;
        if (GgufModel.IsNamed(model))
        {
            using var file = GgufModel.Open(model);
            Tokenizer = file.Tokenizer
                ?? throw new CheckpointException($"{model} has no tokenizer. Give the folder of a model that has the same one.");
            (_vocabularySize, digest) = (file.Config.VocabularySize, file.Vocabulary!.ComputeDigest()[..16]);
        }
        else
        {
            Tokenizer = TokenizerLoader.Load(model);
            var config = Path.Combine(model, "config.json");
            _vocabularySize = File.Exists(config) ? ModelConfigReader.ReadFile(config).VocabularySize : Tokenizer.VocabularySize;
            digest = Hash(model);
        }
        _documents = new DocumentTokenizer(Tokenizer);
        var framed = Tokenizer.Encode("a", addSpecial: true);
        if (Tokenizer.BosTokenId is { } bos)
            _begin = framed[0] == bos ? null : bos;
        else if (Tokenizer.EosTokenId is { } eos && framed[^1] != eos)
            _end = eos;
        Identity = $"{digest}, {_vocabularySize} ids";
    }

    /// <summary>The model's tokenizer.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>Bytes per token in a <c>.bin</c>: 2 for up to 65,536 ids, else 4.</summary>
    public int Width => _vocabularySize <= 65536 ? 2 : 4;

    /// <summary>Differs between tokenizers that may give different tokens.</summary>
    public string Identity { get; }

    /// <summary>The tokens of one document, chunk by chunk.</summary>
    public IEnumerable<IReadOnlyList<int>> Encode(TextReader text, string origin)
    {
        if (_begin is { } begin)
            yield return [begin];
        foreach (var ids in _documents.Encode(text))
        {
            foreach (var id in ids)
            {
                if (id >= _vocabularySize)
                    throw new DataException(
                        $"{origin}: the tokenizer gives id {id}, but the model has {_vocabularySize} ids. Tokenizer and model do not "
                            + $"match."
                    );
            }
            yield return ids;
        }
        if (_end is { } end)
            yield return [end];
    }

    private static string Hash(string model)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var file in s_files.Select(f => Path.Combine(model, f)).Where(File.Exists))
            hash.AppendData(SHA256.HashData(File.ReadAllBytes(file)));
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }
}
