using LongLora.Runtime;
using Microsoft.ML.Tokenizers;

namespace LongLora.Tokenization;

/// <summary>Loads the tokenizer of a model folder.</summary>
public static class TokenizerLoader
{
    /// <summary>The tokenizer of a folder, or null where it has none.</summary>
    public static ITokenizer? LoadIfPresent(string folder)
    {
        var path = Path.Combine(folder, "tokenizer.model");
        return File.Exists(path) ? new Sp(path) : null;
    }

    private sealed class Sp : ITokenizer
    {
        private readonly SentencePieceTokenizer _t;
        internal Sp(string path)
        {
            using var s = File.OpenRead(path);
            _t = SentencePieceTokenizer.Create(s, addBeginningOfSentence: false, addEndOfSentence: false);
        }
        public int VocabularySize => _t.Vocabulary.Count;
        public int? BosTokenId => _t.BeginningOfSentenceId;
        public int? EosTokenId => _t.EndOfSentenceId;
        public int? PadTokenId => null;
        public IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false)
            => _t.EncodeToIds(text, addBeginningOfSentence: addSpecial, addEndOfSentence: false);
        public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true) => _t.Decode(ids.ToArray());
        public int? FindToken(string token) => _t.Vocabulary.TryGetValue(token, out var id) ? id : null;
    }
}
