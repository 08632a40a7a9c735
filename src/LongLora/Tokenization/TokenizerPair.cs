using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Compares a <c>tokenizer.json</c> with the <c>tokenizer.model</c> beside it. Both should say the same. Tokens that were added later are
/// often in only one of them, and then they are taken from there.
/// </summary>
internal sealed class TokenizerPair
{
    private readonly SentencePieceFile _model;
    private readonly string _modelPath,
        _jsonPath;
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly HashSet<string> _added = [];

    private TokenizerPair(SentencePieceFile model, string modelPath, string jsonPath)
    {
        (_model, _modelPath, _jsonPath) = (model, modelPath, jsonPath);
        foreach (var (id, piece) in model.Pieces.Index())
            _ids.TryAdd(piece.Text, id);
    }

    /// <summary>Compares the files, and adds to the settings what only <c>tokenizer.json</c> has.</summary>
    /// <param name="model">The content of <c>tokenizer.model</c>.</param>
    /// <param name="modelPath">Its file, for messages.</param>
    /// <param name="jsonPath">The <c>tokenizer.json</c>.</param>
    /// <param name="settings">The added tokens of the other files; receives more.</param>
    /// <returns>
    /// False if <c>tokenizer.json</c> has a larger vocabulary, so that it has to be read in place of <c>tokenizer.model</c>.
    /// </returns>
    /// <exception cref="CheckpointException">The files give one id to two tokens, or one token two ids.</exception>
    public static bool Join(SentencePieceFile model, string modelPath, string jsonPath, TokenizerSettings settings)
    {
        using var document = TokenizerFiles.ReadJson(jsonPath);
        return new TokenizerPair(model, modelPath, jsonPath).Join(new LocatedJson(jsonPath, "", document.RootElement), settings);
    }

    private bool Join(LocatedJson root, TokenizerSettings settings)
    {
        if (root["added_tokens"] is { IsNull: false } list)
        {
            foreach (var node in list.ReadItems())
                Join(TokenizerSettings.ReadAddedToken(node, node["id"].ReadInteger()), settings);
        }
        var isWhole = true;
        foreach (var (token, id) in ReadVocabulary(root))
        {
            if (_added.Contains(token))
                continue;
            if (id >= _model.Pieces.Count)
                isWhole = false;
            else if (_model.Pieces[id].Text != token)
                throw MakeError(id, token);
        }
        return isWhole;
    }

    private void Join(AddedToken token, TokenizerSettings settings)
    {
        _added.Add(token.Content);
        if (token.Id < _model.Pieces.Count && _model.Pieces[token.Id] is var piece)
        {
            if (piece.Text == token.Content)
                return;
            // A reserved piece that was given a name later. The text of a normal piece still becomes its id.
            if (piece.Kind is PieceKind.Normal or PieceKind.Byte)
                throw MakeError(token.Id, token.Content);
        }
        var known = _ids.TryGetValue(token.Content, out var id) ? id : settings.FindAdded(token.Content);
        if (known is { } other && other != token.Id)
            throw new CheckpointException(
                $"{_jsonPath} gives \"{token.Content}\" the id {token.Id}, but {_modelPath} or a file beside it gives it {other}. "
                    + $"Remove the file that the model was not trained with."
            );
        settings.AddMissing(token);
    }

    private CheckpointException MakeError(int id, string token) =>
        new(
            $"Cannot tell the tokens: {id} is \"{token}\" in {_jsonPath}, but \"{_model.Pieces[id].Text}\" in {_modelPath}. Remove "
                + $"the file that the model was not trained with."
        );

    // BPE has an object of ids; Unigram has a list of tokens with their scores. Other models are not compared.
    private static IEnumerable<(string Token, int Id)> ReadVocabulary(LocatedJson root)
    {
        if (root["model"] is not { Value.ValueKind: JsonValueKind.Object } model)
            return [];
        var vocabulary = model["vocab"];
        return vocabulary.Value.ValueKind switch
        {
            JsonValueKind.Object => vocabulary.ReadMembers().Select(m => (m.Name, m.Node.ReadInteger())),
            JsonValueKind.Array => vocabulary
                .Value.EnumerateArray()
                .Select((pair, i) => (pair.ValueKind == JsonValueKind.Array && pair.GetArrayLength() == 2 ? pair[0].GetString() : null, i))
                .Where(p => p.Item1 is not null)
                .Select(p => (p.Item1!, p.i)),
            _ => [],
        };
    }
}
