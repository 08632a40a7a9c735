namespace LongLora.Generation.Structured;

/// <summary>A finite automaton over characters in which every state leads to an end. The first state is 0.</summary>
internal sealed class CharacterAutomaton
{
    internal const int MostStates = 5_000;

    private CharacterAutomaton(List<State> states) => States = states;

    internal IReadOnlyList<State> States { get; }

    /// <summary>Whether it has no text at all.</summary>
    internal bool IsEmpty => States.Count == 0;

    /// <summary>Makes one from a function that says what follows a state, removing states that lead to no end.</summary>
    /// <param name="start">The first state.</param>
    /// <param name="follow">Transitions of a state, whose sets do not overlap, and whether a text may end there.</param>
    internal static CharacterAutomaton Explore<T>(T start, Func<T, (IReadOnlyList<(CharacterSet Set, T Next)> Moves, bool IsEnd)> follow)
        where T : notnull
    {
        var numbers = new Dictionary<T, int> { [start] = 0 };
        var order = new List<T> { start };
        var states = new List<State>();
        for (var i = 0; i < order.Count; i++)
        {
            var (moves, isEnd) = follow(order[i]);
            var targets = new Dictionary<int, CharacterSet>();
            foreach (var (set, next) in moves.Where(m => !m.Set.IsEmpty))
            {
                if (!numbers.TryGetValue(next, out var number))
                {
                    numbers[next] = number = order.Count;
                    order.Add(next);
                    if (order.Count > MostStates)
                        throw new GrammarException($"the pattern and its bounds need more than {MostStates:N0} states. Simplify them.");
                }
                targets[number] = targets.TryGetValue(number, out var known) ? known.Or(set) : set;
            }
            states.Add(new State([.. targets.Select(t => (t.Value, t.Key))], isEnd));
        }
        return new CharacterAutomaton(Prune(states));
    }

    /// <summary>All texts but these.</summary>
    internal static CharacterAutomaton NotAmong(IReadOnlyCollection<string> texts)
    {
        var names = texts.Select(t => t.EnumerateRunes().Select(r => r.Value).ToArray()).ToList();
        // A state is the text so far while it begins a name, and null afterwards.
        return Explore<string>("", state =>
        {
            if (state == "free")
                return ([(CharacterSet.All, "free")], true);
            int[] path = [.. state.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
            var begun = names.Where(n => n.AsSpan().StartsWith(path)).ToList();
            var moves = new List<(CharacterSet, string)>();
            var rest = CharacterSet.All;
            foreach (var next in begun.Where(n => n.Length > path.Length).Select(n => n[path.Length]).Distinct())
            {
                moves.Add((CharacterSet.Of(next), $"{state} {next}"));
                rest = rest.And(CharacterSet.Of(next).Not());
            }
            moves.Add((rest, "free"));
            return (moves, !begun.Exists(n => n.Length == path.Length));
        });
    }

    /// <summary>Its texts of so many characters.</summary>
    internal CharacterAutomaton Bound(int least, int? most)
    {
        if (IsEmpty || (least == 0 && most is null))
            return this;
        return Explore((State: 0, Count: 0), at =>
            (
                at.Count == most
                    ? []
                    :
                    [
                        .. States[at.State]
                            .Moves.Select(m => (m.Set, (m.Next, most is null ? Math.Min(at.Count + 1, least) : at.Count + 1))),
                    ],
                States[at.State].IsEnd && at.Count >= least
            )
        );
    }

    /// <summary>The texts that both have.</summary>
    internal CharacterAutomaton And(CharacterAutomaton other)
    {
        if (IsEmpty || other.IsEmpty)
            return IsEmpty ? this : other;
        return Explore((Mine: 0, Other: 0), at =>
            (
                [
                    .. from mine in States[at.Mine].Moves
                    from theirs in other.States[at.Other].Moves
                    select (mine.Set.And(theirs.Set), (mine.Next, theirs.Next)),
                ],
                States[at.Mine].IsEnd && other.States[at.Other].IsEnd
            )
        );
    }

    /// <summary>Whether it has a text.</summary>
    internal bool Matches(string text)
    {
        var at = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            if (IsEmpty || States[at].Moves.FirstOrDefault(m => m.Set.Contains(rune.Value)) is not { Set: not null } move)
                return false;
            at = move.Next;
        }
        return !IsEmpty && States[at].IsEnd;
    }

    /// <summary>Its texts as JSON strings.</summary>
    internal int EmitString(GrammarBuilder builder, int next)
    {
        var end = builder.Byte(ByteSet.Of("\""), next);
        var starts = States.Select(_ => builder.Split()).ToList();
        foreach (var (i, state) in States.Index())
        {
            foreach (var (set, target) in state.Moves)
                builder.AddChoice(starts[i], builder.Emit(set.ToJson(), starts[target]));
            if (state.IsEnd)
                builder.AddChoice(starts[i], end);
        }
        return builder.Byte(ByteSet.Of("\""), IsEmpty ? builder.Split() : starts[0]);
    }

    private static List<State> Prune(List<State> states)
    {
        var alive = states.Select(s => s.IsEnd).ToArray();
        for (var isChanged = true; isChanged; )
        {
            isChanged = false;
            for (var i = states.Count - 1; i >= 0; i--)
            {
                if (!alive[i] && states[i].Moves.Any(m => alive[m.Next]))
                    alive[i] = isChanged = true;
            }
        }
        if (states.Count == 0 || !alive[0])
            return [];
        var numbers = new int[states.Count];
        for (int i = 0, number = 0; i < states.Count; i++)
            numbers[i] = alive[i] ? number++ : -1;
        return
        [
            .. states
                .Where((_, i) => alive[i])
                .Select(s => s with { Moves = [.. s.Moves.Where(m => alive[m.Next]).Select(m => (m.Set, numbers[m.Next]))] }),
        ];
    }

    /// <summary>A state.</summary>
    /// <param name="Moves">Where the characters lead; the sets do not overlap.</param>
    /// <param name="IsEnd">Whether a text may end here.</param>
    internal sealed record State(IReadOnlyList<(CharacterSet Set, int Next)> Moves, bool IsEnd);
}
