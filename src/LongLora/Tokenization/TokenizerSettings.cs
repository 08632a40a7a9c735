using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// The content of the small files beside a tokenizer: first <c>tokenizer_config.json</c>, then <c>special_tokens_map.json</c>,
/// <c>added_tokens.json</c>, and <c>config.json</c> for the ids of BOS and EOS if no other file gives them. All of them are optional.
/// </summary>
internal sealed class TokenizerSettings
{
    private static readonly string[] s_roles = ["bos_token", "eos_token", "pad_token"];
    private readonly Dictionary<string, (string? Token, string File)> _roles = [];
    private readonly Dictionary<string, int> _idsOfModel = [];
    private readonly HashSet<string> _special = [];
    private readonly Dictionary<string, AddedToken> _added = [];

    /// <summary>Whether BOS is written before a text (<c>add_bos_token</c>); null if the files do not say.</summary>
    public bool? AddBos { get; private set; }

    /// <summary>Whether EOS is written after a text (<c>add_eos_token</c>); null if the files do not say.</summary>
    public bool? AddEos { get; private set; }

    /// <summary>
    /// Whether text after an added token also gets a leading space, as in older Llama tokenizers (<c>legacy</c>, default true).
    /// </summary>
    public bool Legacy { get; private set; } = true;

    /// <summary>Reads the files of a folder.</summary>
    public static TokenizerSettings Read(string directory)
    {
        var settings = new TokenizerSettings();
        settings.ReadAddedTokens(Path.Combine(directory, "added_tokens.json"));
        settings.ReadConfig(Path.Combine(directory, "tokenizer_config.json"));
        settings.ReadRoles(Path.Combine(directory, "special_tokens_map.json"));
        settings.ReadModelConfig(Path.Combine(directory, "config.json"));
        return settings;
    }

    /// <summary>What another file says of these things.</summary>
    /// <param name="file">Its name, for messages.</param>
    /// <param name="addBos">Whether BOS is written in front of a text.</param>
    /// <param name="addEos">Whether EOS is written behind a text.</param>
    /// <param name="roles">The tokens in the roles <c>bos_token</c>, <c>eos_token</c> and <c>pad_token</c>; null for none.</param>
    public static TokenizerSettings Of(string file, bool addBos, bool addEos, IReadOnlyDictionary<string, string?> roles)
    {
        var settings = new TokenizerSettings { AddBos = addBos, AddEos = addEos };
        foreach (var (role, token) in roles)
            settings._roles[role] = (token, file);
        return settings;
    }

    /// <summary>The added tokens that these files list.</summary>
    public IEnumerable<AddedToken> AddedTokens => _added.Values.Select(t => t with { Special = t.Special || _special.Contains(t.Content) });

    /// <summary>
    /// Adds to a tokenizer's own added tokens those that only these files list, and the special tokens of its vocabulary that the files
    /// name.
    /// </summary>
    public List<AddedToken> Complete(List<AddedToken> own, TokenTable tokens)
    {
        var known = own.Select(t => t.Content).ToHashSet(StringComparer.Ordinal);
        var named = _special
            .Where(content => tokens.Find(content) is not null)
            .Select(content => new AddedToken(tokens.Find(content)!.Value, content) { Special = true });
        var more = AddedTokens.Concat(named).DistinctBy(t => t.Content).Where(t => !known.Contains(t.Content)).ToList();
        foreach (var token in more)
            tokens.Set(token);
        return [.. own, .. more];
    }

    /// <summary>
    /// What is written on one side of a text: as <paramref name="told"/> says, or as <paramref name="template"/> says if no file does.
    /// </summary>
    public static IReadOnlyList<int> ChooseSpecialIds(bool? told, string role, int? id, IReadOnlyList<int> template) =>
        told switch
        {
            null => template,
            false => [],
            true =>
            [
                id
                    ?? throw new CheckpointException(
                        $"tokenizer_config.json sets add_{role} to true, but no file defines the " + $"{role}."
                    ),
            ],
        };

    /// <summary>The id of the token with a role (<c>bos_token</c>, ...); <paramref name="fallback"/> if no file defines it.</summary>
    /// <exception cref="CheckpointException">A file names a token that has no id.</exception>
    public int? Find(string role, TokenTable tokens, string? fallback = null)
    {
        if (!_roles.TryGetValue(role, out var named))
            return fallback is not null && tokens.Find(fallback) is { } id ? id
                : _idsOfModel.TryGetValue(role, out id) && id < tokens.Count ? id
                : null;
        if (named.Token is null)
            return null;
        return tokens.Find(named.Token)
            ?? throw new CheckpointException(
                $"{named.File}: {role} is \"{named.Token}\", which is not in the vocabulary. Add it with its id to added_tokens.json "
                    + $"in the same folder, or name another token."
            );
    }

    private void ReadConfig(string path)
    {
        using var document = TokenizerFiles.ReadJsonIfPresent(path);
        if (document is null)
            return;
        var root = new LocatedJson(path, "", document.RootElement);
        (AddBos, AddEos, Legacy) = (
            root["add_bos_token"].ReadFlagOrNull(),
            root["add_eos_token"].ReadFlagOrNull(),
            root["legacy"].ReadFlag(true)
        );
        ReadRoles(root);
        if (root["added_tokens_decoder"] is not { IsNull: false } listed)
            return;
        foreach (var (name, node) in listed.ReadMembers())
        {
            if (!int.TryParse(name, out var id))
                throw node.MakeError("listed under an integer");
            Add(ReadAddedToken(node, id));
        }
    }

    private void ReadAddedTokens(string path)
    {
        using var document = TokenizerFiles.ReadJsonIfPresent(path);
        if (document is null)
            return;
        foreach (var (content, node) in new LocatedJson(path, "", document.RootElement).ReadMembers())
            Add(new AddedToken(node.ReadInteger(), content));
    }

    private void ReadRoles(string path)
    {
        using var document = TokenizerFiles.ReadJsonIfPresent(path);
        if (document is not null)
            ReadRoles(new LocatedJson(path, "", document.RootElement));
    }

    private void ReadRoles(LocatedJson root)
    {
        foreach (var role in s_roles)
        {
            if (root.Value.TryGetProperty(role, out _))
                _roles.TryAdd(role, (ReadContent(root[role]), root.File));
        }
        foreach (var role in (string[])[.. s_roles, "unk_token"])
        {
            if (ReadContent(root[role]) is { } token)
                _special.Add(token);
        }
        if (root["additional_special_tokens"] is { IsNull: false } more && more.Value.ValueKind == System.Text.Json.JsonValueKind.Array)
            _special.UnionWith(more.ReadItems().Select(ReadContent).OfType<string>());
    }

    private void ReadModelConfig(string path)
    {
        using var document = TokenizerFiles.ReadJsonIfPresent(path);
        if (document is null)
            return;
        var root = new LocatedJson(path, "", document.RootElement);
        foreach (var role in s_roles)
        {
            // A number, or for several end tokens a list. The first one is written.
            var node = root[role + "_id"];
            if (node.Value.ValueKind == System.Text.Json.JsonValueKind.Array)
                node = node.ReadItems().FirstOrDefault();
            if (!node.IsNull && node.ReadInteger() is >= 0 and var id)
                _idsOfModel[role] = id;
        }
    }

    /// <summary>The id of an added token with this text; null if these files do not list it.</summary>
    public int? FindAdded(string content) => _added.TryGetValue(content, out var token) ? token.Id : null;

    /// <summary>Adds a token of another file, unless these files list it.</summary>
    public void AddMissing(AddedToken token) => _added.TryAdd(token.Content, token);

    private void Add(AddedToken token) => _added[token.Content] = token;

    /// <summary>A token is written as a string or as an object with <c>content</c>.</summary>
    private static string? ReadContent(LocatedJson node) =>
        node.IsNull ? null
        : node.Value.ValueKind == System.Text.Json.JsonValueKind.Object ? node["content"].ReadText()
        : node.ReadText();

    /// <summary>An added token in the format of tokenizer.json and tokenizer_config.json.</summary>
    public static AddedToken ReadAddedToken(LocatedJson node, int id) =>
        new(id, node["content"].ReadText())
        {
            Special = node["special"].ReadFlag(),
            SingleWord = node["single_word"].ReadFlag(),
            LeftStrip = node["lstrip"].ReadFlag(),
            RightStrip = node["rstrip"].ReadFlag(),
            Normalized = node["normalized"].ReadFlag(),
        };
}
