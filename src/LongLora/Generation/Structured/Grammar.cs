namespace LongLora.Generation.Structured;

/// <summary>
/// A set of texts, as a graph of nodes over bytes with rules that call each other. Immutable. It has no dead end: whatever can begin a
/// text can be completed to one, within <see cref="MostNesting"/> levels.
/// </summary>
internal sealed class Grammar
{
    /// <summary>Most levels of objects and arrays; the usual bound of JSON readers, such as System.Text.Json's.</summary>
    internal const int MostNesting = 64;

    private const int Never = int.MaxValue / 2;
    private readonly byte[] _classes = new byte[256];

    internal Grammar(GrammarNode[] nodes, IReadOnlyList<GrammarRule> rules, GrammarRule root)
    {
        (Nodes, Root) = (nodes, root);
        foreach (var rule in rules.Where(r => r.Start < 0))
            throw new InvalidOperationException($"The rule '{rule.Name}' is not defined.");
        Levels = FindLevels();
        RefuseLeftRecursion(rules);
        if (Needs(root) > MostNesting)
            throw new GrammarException(
                Needs(root) >= Never
                    ? "no text satisfies it. Look for a required part that contains itself, or for conditions that exclude each other."
                    : $"every text of it nests more than {MostNesting} levels of objects and arrays."
            );
        ClassCount = FindClasses();
    }

    internal IReadOnlyList<GrammarNode> Nodes { get; }

    internal GrammarRule Root { get; }

    /// <summary>For each node, how many levels of nesting what follows up to the end of its rule needs at least.</summary>
    internal int[] Levels { get; }

    /// <summary>Number of kinds of bytes between which no node distinguishes.</summary>
    internal int ClassCount { get; }

    internal int ClassOf(byte value) => _classes[value];

    /// <summary>One byte of each class.</summary>
    internal byte[] Examples { get; private set; } = [];

    private int Needs(GrammarRule rule) => Math.Min(Never, Levels[rule.Start] + (rule.IsContainer ? 1 : 0));

    // The least solution, from "never" down. A node that never gets one leads to no text.
    private int[] FindLevels()
    {
        var levels = new int[Nodes.Count];
        Array.Fill(levels, Never);
        int Of(GrammarRule rule) => Math.Min(Never, levels[rule.Start] + (rule.IsContainer ? 1 : 0));
        for (var isChanged = true; isChanged; )
        {
            isChanged = false;
            // Most edges go to nodes that were made before: one round then settles almost all.
            for (var i = 0; i < levels.Length; i++)
            {
                var node = Nodes[i];
                var level = node.Step switch
                {
                    GrammarStep.Byte => node.Set.IsEmpty ? Never : levels[node.Next],
                    GrammarStep.Split => node.Choices.Count == 0 ? Never : node.Choices.Min(c => levels[c]),
                    GrammarStep.Call => Math.Max(Of(node.Rule!), levels[node.Next]),
                    GrammarStep.Repeat => node.Most < node.Least ? Never
                    : node.Least == 0 ? levels[node.Next]
                    : Math.Max(Of(node.Rule!), levels[node.Next]),
                    _ => 0,
                };
                if (level < levels[i])
                    (levels[i], isChanged) = (level, true);
            }
        }
        return levels;
    }

    // A rule that calls itself before it reads a byte would be called without end; and a rule without a byte would be repeated so.
    private void RefuseLeftRecursion(IReadOnlyList<GrammarRule> rules)
    {
        var first = new Dictionary<GrammarRule, HashSet<GrammarRule>>();
        foreach (var rule in rules)
        {
            var (seen, open, called) = (new HashSet<int>(), new Stack<int>([rule.Start]), new HashSet<GrammarRule>());
            while (open.TryPop(out var at))
            {
                if (!seen.Add(at))
                    continue;
                var node = Nodes[at];
                if (node.Step == GrammarStep.Split)
                    node.Choices.ForEach(open.Push);
                if (node.Step is GrammarStep.Call or GrammarStep.Repeat)
                    called.Add(node.Rule!);
                if (node.Step == GrammarStep.Repeat && node.Least == 0)
                    open.Push(node.Next);
                if (node.Step == GrammarStep.Return && rule != Root)
                    throw new InvalidOperationException($"The rule '{rule.Name}' has the empty text.");
            }
            first[rule] = called;
        }
        foreach (var rule in rules)
        {
            var (seen, open) = (new HashSet<GrammarRule>(), new Stack<GrammarRule>(first[rule]));
            while (open.TryPop(out var called))
            {
                if (called == rule)
                    throw new GrammarException($"{rule.Name} refers to itself with nothing in between.");
                if (seen.Add(called))
                    foreach (var further in first[called])
                        open.Push(further);
            }
        }
    }

    private int FindClasses()
    {
        var sets = Nodes.Where(n => n.Step == GrammarStep.Byte).Select(n => n.Set).Distinct().ToList();
        Span<int> classes = stackalloc int[256];
        var count = 1;
        foreach (var set in sets)
        {
            // Each class of those so far is divided into what is in the set and what is not.
            var inside = new Dictionary<int, int>();
            var sizes = new int[count];
            for (var value = 0; value < 256; value++)
                sizes[classes[value]] += set.Contains(value) ? 1 : 0;
            var whole = new int[count];
            for (var value = 0; value < 256; value++)
                whole[classes[value]]++;
            for (var value = 0; value < 256; value++)
            {
                var of = classes[value];
                if (!set.Contains(value) || of >= sizes.Length || sizes[of] == whole[of])
                    continue;
                if (!inside.TryGetValue(of, out var part))
                    inside[of] = part = count++;
                classes[value] = part;
            }
        }
        Examples = new byte[count];
        for (var value = 0; value < 256; value++)
            (_classes[value], Examples[classes[value]]) = ((byte)classes[value], (byte)value);
        return count;
    }
}
