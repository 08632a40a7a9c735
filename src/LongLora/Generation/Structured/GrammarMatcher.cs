namespace LongLora.Generation.Structured;

/// <summary>
/// Reads texts by a grammar, byte by byte. Every state is made once, when a text first reaches it, so that the same parts of texts cost a
/// look into a table. For one thread.
/// </summary>
internal sealed class GrammarMatcher
{
    private const int MostStates = 20_000,
        MostMasks = 1_000;
    private readonly Grammar _grammar;
    private readonly int _horizon;
    private readonly Dictionary<(int Node, int Count, int Parent), GrammarFrame> _frames = [];
    private readonly Dictionary<StateKey, GrammarState> _states = [];
    private readonly List<GrammarState> _masked = [];
    private int _frameCount;

    /// <param name="grammar">The grammar.</param>
    /// <param name="horizon">Most bytes of a token: states that only texts beyond this many bytes tell apart have one
    /// representative.</param>
    internal GrammarMatcher(Grammar grammar, int horizon)
    {
        (_grammar, _horizon) = (grammar, horizon);
        Start = MakeStart();
    }

    /// <summary>The state before a text.</summary>
    internal GrammarState Start { get; private set; }

    /// <summary>States that are kept.</summary>
    internal int StateCount => _states.Count;

    /// <summary>The state behind a byte; <see cref="GrammarState.Dead"/> where no text goes on so.</summary>
    internal GrammarState Next(GrammarState state, byte value)
    {
        if (state.MustEnd)
            return GrammarState.Dead;
        ref var next = ref state.Next[_grammar.ClassOf(value)];
        return next ??= Make(state, value);
    }

    /// <summary>The state that stands for this one where one more token is asked for: counts far from their bounds are alike.</summary>
    internal GrammarState Representative(GrammarState state)
    {
        var places = new List<GrammarPlace>(state.Places.Length);
        foreach (var place in state.Places)
            places.Add(place with { Frame = Representative(place.Frame) });
        return Intern(places, state.MayEnd);
    }

    /// <summary>The tokens that may follow a state, which are found once.</summary>
    internal ulong[] Tokens(GrammarState state, TokenTrie trie)
    {
        var alike = Representative(state);
        if (alike.Tokens is { } known)
            return known;
        if (_masked.Count >= MostMasks)
        {
            _masked.ForEach(s => s.Tokens = null);
            _masked.Clear();
        }
        _masked.Add(alike);
        return alike.Tokens = trie.Find(this, alike);
    }

    /// <summary>Forgets what was made where it is much, and returns the state anew.</summary>
    internal GrammarState Trim(GrammarState state)
    {
        if (_states.Count <= MostStates && _frames.Count <= 4 * MostStates)
            return state;
        _states.Clear();
        _frames.Clear();
        _masked.Clear();
        Start = MakeStart();
        return Intern([.. state.Places], state.MayEnd);
    }

    private GrammarState MakeStart()
    {
        var places = new List<GrammarPlace>();
        return Intern(places, Close(_grammar.Root.Start, null, places, []));
    }

    private GrammarState Make(GrammarState state, byte value)
    {
        var (places, seen, mayEnd) = (new List<GrammarPlace>(), new HashSet<GrammarPlace>(), false);
        foreach (var (at, frame) in state.Places)
        {
            var node = _grammar.Nodes[at];
            if (node.Set.Contains(value))
                mayEnd |= Close(node.Next, frame, places, seen);
        }
        return places.Count == 0 && !mayEnd ? GrammarState.Dead : Intern(places, mayEnd);
    }

    // Collects the nodes that read a byte and can be reached without one. Returns whether the text may end.
    private bool Close(int start, GrammarFrame? frame, List<GrammarPlace> places, HashSet<GrammarPlace> seen)
    {
        var mayEnd = false;
        var open = new Stack<(GrammarPlace Place, int Count)>([(new(start, frame), 0)]);
        while (open.TryPop(out var next))
        {
            var ((at, calls), count) = next;
            // A repetition is reached again with another count; its frames keep these apart.
            if ((count == 0 && !seen.Add(next.Place)) || (calls?.Depth ?? 0) + _grammar.Levels[at] > Grammar.MostNesting)
                continue;
            var node = _grammar.Nodes[at];
            switch (node.Step)
            {
                case GrammarStep.Byte:
                    places.Add(next.Place);
                    break;
                case GrammarStep.Split:
                    foreach (var choice in node.Choices)
                        open.Push((new(choice, calls), 0));
                    break;
                case GrammarStep.Call:
                    open.Push((new(node.Rule!.Start, Frame(at, 0, calls)), 0));
                    break;
                case GrammarStep.Repeat:
                    if (count >= node.Least)
                        open.Push((new(node.Next, calls), 0));
                    if (node.Most is null || count < node.Most)
                        open.Push((new(node.Rule!.Start, Frame(at, count, calls)), 0));
                    break;
                case GrammarStep.Return when calls is null:
                    mayEnd = true;
                    break;
                case GrammarStep.Return when _grammar.Nodes[calls.Node].Step == GrammarStep.Call:
                    open.Push((new(_grammar.Nodes[calls.Node].Next, calls.Parent), 0));
                    break;
                default:
                    open.Push((new(calls!.Node, calls.Parent), calls.Count + 1));
                    break;
            }
        }
        return mayEnd;
    }

    // Without an upper bound, only whether the lower one is reached matters.
    private GrammarFrame Frame(int at, int count, GrammarFrame? parent)
    {
        var node = _grammar.Nodes[at];
        if (node.Most is null)
            count = Math.Min(count, node.Least);
        var key = (at, count, parent?.Number ?? -1);
        if (!_frames.TryGetValue(key, out var frame))
        {
            var depth = (parent?.Depth ?? 0) + (node.Rule!.IsContainer ? 1 : 0);
            _frames[key] = frame = new GrammarFrame(_frameCount++, at, count, parent, depth);
        }
        return frame;
    }

    private GrammarFrame? Representative(GrammarFrame? frame)
    {
        if (frame is null)
            return null;
        if (frame.Representative is { } known)
            return known;
        var (node, count) = (_grammar.Nodes[frame.Node], frame.Count);
        if (count + (long)_horizon < node.Least)
            count = 0;
        else if (count >= node.Least && node.Most is { } most && count + (long)_horizon < most)
            count = node.Least;
        return frame.Representative = Frame(frame.Node, count, Representative(frame.Parent));
    }

    private GrammarState Intern(List<GrammarPlace> places, bool mayEnd)
    {
        var sorted = places.Distinct().ToArray();
        Array.Sort(sorted, (x, y) => (x.Node, x.Frame?.Number ?? -1).CompareTo((y.Node, y.Frame?.Number ?? -1)));
        var key = new StateKey(sorted, mayEnd);
        if (!_states.TryGetValue(key, out var state))
            _states[key] = state = new GrammarState(sorted, mayEnd, _grammar.ClassCount);
        return state;
    }

    private readonly struct StateKey(GrammarPlace[] places, bool mayEnd) : IEquatable<StateKey>
    {
        private readonly GrammarPlace[] _places = places;
        private readonly bool _mayEnd = mayEnd;

        public bool Equals(StateKey other) => _mayEnd == other._mayEnd && _places.AsSpan().SequenceEqual(other._places);

        public override bool Equals(object? obj) => obj is StateKey other && Equals(other);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            hash.Add(_mayEnd);
            foreach (var (node, frame) in _places)
            {
                hash.Add(node);
                hash.Add(frame?.Number ?? -1);
            }
            return hash.ToHashCode();
        }
    }
}
