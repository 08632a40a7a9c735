using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;

namespace LongLora.Tokenization;

/// <summary>
/// SentencePiece's Unigram model: of all ways to write a text in tokens, it uses the one with the largest sum of log-probabilities (Kudo
/// 2018, arXiv 1804.10959, section 3.2). Equal probabilities are common ("..." and "." in either order), and the reference decides between
/// them by the rounding of its 32-bit sums. So the sums here are rounded in the same way.
/// </summary>
internal sealed class UnigramModel : ITokenModel
{
    // The penalty of an unknown character compared with the least likely token (as in SentencePiece).
    private const float UnknownPenalty = 10;

    // The sums start again after this many characters, at the next position where all paths meet. Over a whole book they would lose all
    // precision.
    private const int BlockLength = 1 << 13;

    private readonly Dictionary<ulong, int> _edges = [];
    private readonly List<Node> _nodes = [new Node(-1, 0)];
    private readonly WordBoundary _boundary;
    private readonly UnknownCharacters _unknown;
    private readonly float _unknownScore;

    /// <param name="tokens">Every usable token with its log-probability.</param>
    /// <param name="lowestScore">The lowest log-probability of an ordinary token.</param>
    /// <param name="boundary">Where texts may be split.</param>
    /// <param name="unknown">What is written for a character without a token.</param>
    public UnigramModel(
        IEnumerable<(string Text, int Id, double Score)> tokens,
        float lowestScore,
        WordBoundary boundary,
        UnknownCharacters unknown
    )
    {
        (_boundary, _unknown, _unknownScore) = (boundary, unknown, lowestScore - UnknownPenalty);
        foreach (var (text, id, score) in tokens)
        {
            var node = 0;
            foreach (var character in text)
            {
                ref var child = ref CollectionsMarshal.GetValueRefOrAddDefault(_edges, MakeEdgeKey(node, character), out var exists);
                if (!exists)
                {
                    child = _nodes.Count;
                    _nodes.Add(new Node(-1, 0));
                }
                node = child;
            }
            _nodes[node] = new Node(id, score);
        }
    }

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        var first = ids.Count;
        var scratch = new List<int>();
        for (int start = 0, end; start < word.Length; start = end)
        {
            end = start + BlockLength < word.Length ? _boundary.FindNext(word, start + BlockLength) : word.Length;
            scratch.Clear();
            EncodeBlock(word[start..end], scratch);
            _unknown.Join(CollectionsMarshal.AsSpan(scratch), first, ids);
        }
    }

    private static ulong MakeEdgeKey(int node, char character) => ((ulong)(uint)node << 16) | character;

    /// <summary>Viterbi: best[i] is the best way to write the first i characters, represented by its last token.</summary>
    private void EncodeBlock(ReadOnlySpan<char> text, List<int> ids)
    {
        var borrowed = ArrayPool<Step>.Shared.Rent(text.Length + 1);
        var best = borrowed.AsSpan(0, text.Length + 1);
        best.Fill(new Step(-1, -1, float.NegativeInfinity));
        best[0] = new Step(0, -1, 0);
        for (var start = 0; start < text.Length; )
        {
            Rune.DecodeFromUtf16(text[start..], out _, out var character);
            Extend(text, start, character, best);
            start += character;
        }
        var ends = new List<int>();
        for (var end = text.Length; end > 0; end = best[end].Start)
            ends.Add(end);
        for (var i = ends.Count - 1; i >= 0; i--)
        {
            var step = best[ends[i]];
            if (step.Id >= 0)
            {
                ids.Add(step.Id);
            }
            else
            {
                Rune.DecodeFromUtf16(text[step.Start..], out var rune, out _);
                _unknown.Append(rune, ids);
            }
        }
        ArrayPool<Step>.Shared.Return(borrowed);
    }

    /// <summary>Tries every token that starts at <paramref name="start"/>. The first of equal ones is kept.</summary>
    private void Extend(ReadOnlySpan<char> text, int start, int character, Span<Step> best)
    {
        var (node, known, before) = (0, false, best[start].Score);
        for (var end = start; end < text.Length && _edges.TryGetValue(MakeEdgeKey(node, text[end]), out node); )
        {
            end++;
            if (_nodes[node].Id < 0)
                continue;
            known |= end == start + character;
            // The candidate is compared before it is rounded, as in the reference.
            var score = _nodes[node].Score + before;
            if (score > best[end].Score)
                best[end] = new Step(start, _nodes[node].Id, (float)score);
        }
        if (!known && _unknownScore + before > best[start + character].Score)
            best[start + character] = new Step(start, -1, _unknownScore + before);
    }

    private readonly record struct Node(int Id, double Score);

    private readonly record struct Step(int Start, int Id, float Score);
}
