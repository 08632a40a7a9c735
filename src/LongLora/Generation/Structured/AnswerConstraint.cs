using LongLora.Runtime;

namespace LongLora.Generation.Structured;

// V vocabulary

/// <summary>Binds one answer to a grammar: before each token it says which may follow, and after it it goes on from there.</summary>
internal sealed class AnswerConstraint
{
    private readonly TokenTrie _trie;
    private readonly HashSet<int> _ends;
    private readonly GrammarMatcher _matcher;
    private GrammarState _state;

    /// <param name="format">The format of the answer.</param>
    /// <param name="trie">The vocabulary.</param>
    /// <param name="ends">Tokens that end the answer; they are allowed where the grammar may end.</param>
    internal AnswerConstraint(AnswerFormat format, TokenTrie trie, IEnumerable<int> ends)
    {
        (_trie, _ends) = (trie, [.. ends]);
        _matcher = format.MatcherFor(trie);
        _state = _matcher.Start;
    }

    /// <summary>Whether the answer is whole and nothing can follow.</summary>
    internal bool IsComplete => _state.MustEnd;

    /// <summary>Whether the answer may end here.</summary>
    internal bool MayEnd => _state.MayEnd;

    /// <summary>Makes all tokens impossible that the grammar does not allow here.</summary>
    /// <param name="logits">[V]; changed.</param>
    /// <exception cref="DataException">The vocabulary has no token with which the grammar can go on.</exception>
    internal void Apply(Span<float> logits)
    {
        ulong[] allowed;
        lock (_matcher)
            allowed = _matcher.Tokens(_state, _trie);
        var isAny = false;
        for (var id = 0; id < logits.Length; id++)
        {
            var isAllowed =
                (id < _trie.Count && (allowed[id >> 6] >> (id & 63) & 1) != 0) || (_state.MayEnd && _ends.Count > 0 && _ends.Contains(id));
            if (!isAllowed)
                logits[id] = float.NegativeInfinity;
            isAny |= isAllowed;
        }
        if (!isAny)
        {
            throw new DataException(
                "Cannot go on with the answer because no token of this model's vocabulary continues its format. Use a schema without the "
                    + "characters that the vocabulary lacks."
            );
        }
    }

    /// <summary>Reads the token that was chosen.</summary>
    internal void Accept(int id)
    {
        lock (_matcher)
        {
            foreach (var value in _trie.Bytes(id))
                _state = _matcher.Next(_state, value);
            _state = _matcher.Trim(_state);
        }
    }
}
