using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>The tokens by id: their text, their bytes, and which of them are control tokens.</summary>
internal sealed class TokenTable
{
    // Far above any vocabulary in use. A damaged file must not cause gigabytes of allocation.
    private const int LargestId = 1 << 24;

    private readonly string _file;
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly List<byte[]?> _bytes = [];
    private readonly HashSet<int> _special = [];

    /// <param name="file">The file that the tokens come from, for messages.</param>
    public TokenTable(string file) => _file = file;

    /// <summary>One more than the highest id.</summary>
    public int Count => _bytes.Count;

    /// <summary>Adds a token, or redefines an id.</summary>
    /// <exception cref="CheckpointException">The id is negative or unreasonably high.</exception>
    public void Set(int id, string name, byte[] bytes, bool special)
    {
        if (id is < 0 or >= LargestId)
            throw new CheckpointException(
                $"{_file}: token \"{name}\" has id {id}, but ids go from 0 to {LargestId - 1}. The file " + $"is damaged."
            );
        while (_bytes.Count <= id)
            _bytes.Add(null);
        _bytes[id] = bytes;
        _ids[name] = id;
        if (special)
            _special.Add(id);
        else
            _special.Remove(id);
    }

    /// <summary>Adds a token that stands for its own text.</summary>
    public void Set(AddedToken token) => Set(token.Id, token.Content, Encoding.UTF8.GetBytes(token.Content), token.Special);

    /// <summary>The id of the token with this text, or null.</summary>
    public int? Find(string name) => _ids.TryGetValue(name, out var id) ? id : null;

    /// <summary>The bytes of a token; empty for an id without a token.</summary>
    public ReadOnlySpan<byte> GetBytes(int id) => id < _bytes.Count ? _bytes[id] : default;

    /// <summary>Whether it is a control token.</summary>
    public bool IsSpecial(int id) => _special.Contains(id);
}
