using System.Text;

namespace LongLora.Tests;

/// <summary>Damages inputs at random places, the same for the same seed: bytes, and the values of JSON.</summary>
internal sealed class Mutation(int seed)
{
    private static readonly byte[][] s_numbers =
    [
        [0],
        [255],
        [127],
        [128],
        [0, 0, 0, 0],
        [255, 255, 255, 255],
        [255, 255, 255, 127],
        [0, 0, 0, 128],
        [255, 255, 255, 255, 255, 255, 255, 127],
        [0, 0, 0, 0, 1, 0, 0, 0],
    ];

    private static readonly string[] s_values =
    [
        "null",
        "true",
        "0",
        "-1",
        "1",
        "2147483647",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "1e999",
        "-1e999",
        "1e-400",
        "0.5",
        "\"\"",
        "\"x\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "{\"\\ud800\":1}",
        "{\"a\":1,\"a\":2}",
        "\"../../../etc/passwd\"",
        "[]",
        "{}",
        "[[]]",
        "[null]",
        "[1,2,3]",
        "\"\\ud83d\\ude00\"",
        "-0",
        "[\"a\",\"a\"]",
        "[-1]",
        "100000000",
        "4096.5",
    ];

    private readonly Random _random = new(seed);

    /// <summary>A number from 0 to below another one.</summary>
    public int Below(int count) => _random.Next(Math.Max(1, count));

    /// <summary>Whether something happens that happens so often in a hundred times.</summary>
    public bool Chance(int percent) => _random.Next(100) < percent;

    /// <summary>One of some.</summary>
    public T Pick<T>(IReadOnlyList<T> list) => list[_random.Next(list.Count)];

    /// <summary>Bytes with a few changes, most of them in the first part.</summary>
    public byte[] Bytes(byte[] whole, int focus = int.MaxValue)
    {
        var bytes = new List<byte>(whole);
        for (var left = 1 + Below(Chance(50) ? 3 : 12); left > 0 && bytes.Count > 0; left--)
        {
            var at = Below(Math.Min(bytes.Count, Chance(85) ? focus : bytes.Count));
            switch (Below(8))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << Below(8));
                    break;
                case 1:
                    bytes[at] = (byte)Below(256);
                    break;
                case 2:
                    var number = Pick(s_numbers);
                    for (var i = 0; i < number.Length && at + i < bytes.Count; i++)
                        bytes[at + i] = number[i];
                    break;
                case 3:
                    bytes.RemoveRange(at, Math.Min(bytes.Count - at, 1 + Below(Chance(80) ? 8 : 500)));
                    break;
                case 4:
                    bytes.InsertRange(
                        Below(bytes.Count),
                        bytes.GetRange(at, Math.Min(bytes.Count - at, 1 + Below(Chance(80) ? 16 : 2000)))
                    );
                    break;
                case 5:
                    bytes.InsertRange(at, Enumerable.Range(0, 1 + Below(8)).Select(_ => (byte)Below(256)).ToArray());
                    break;
                case 6 when Chance(30):
                    bytes.RemoveRange(at, bytes.Count - at);
                    break;
                default:
                    bytes[at] = (byte)(bytes[at] + Below(5) - 2);
                    break;
            }
        }
        return [.. bytes];
    }

    /// <summary>A text with some pieces in it that its format may not expect.</summary>
    public byte[] Text(string whole, IReadOnlyList<string> pieces)
    {
        if (Chance(25))
            return Bytes(Encoding.UTF8.GetBytes(whole));
        for (var left = 1 + Below(8); left > 0; left--)
        {
            var piece = Pick(pieces);
            whole = whole.Insert(Below(whole.Length), Chance(10) ? string.Concat(Enumerable.Repeat(piece, 1 + Below(60))) : piece);
        }
        return Encoding.UTF8.GetBytes(whole);
    }

    /// <summary>JSON whose values are replaced, removed, doubled and nested.</summary>
    public byte[] Json(string whole)
    {
        if (Chance(15))
            return Bytes(Encoding.UTF8.GetBytes(whole));
        for (var left = 1 + Below(4); left > 0; left--)
        {
            var spans = FindValues(whole);
            if (spans.Count == 0)
                break;
            var (from, to, isKey) = Pick(spans);
            var (before, value, after) = (whole[..from], whole[from..to], whole[to..]);
            whole = Below(8) switch
            {
                < 4 when !isKey => before + Pick(s_values) + after,
                4 when !isKey => $"{before}[{value}]{after}",
                5 => before + after,
                6 when isKey => before + Pick(["\"\"", "\"type\"", "\"__proto__\""]) + after,
                7 when !isKey && Pick(spans) is var other => before + whole[other.From..other.To] + after,
                _ when !isKey && Chance(5) => before + new string('[', 70) + value + new string(']', 70) + after,
                _ => before + value + (isKey ? "" : "," + value) + after,
            };
        }
        return Encoding.UTF8.GetBytes(whole);
    }

    private static List<(int From, int To, bool IsKey)> FindValues(string json)
    {
        var (found, open) = (new List<(int, int, bool)>(), new Stack<int>());
        for (var i = 0; i < json.Length; i++)
        {
            var end = i + 1;
            if (json[i] == '"')
            {
                while (end < json.Length && json[end] != '"')
                    end += json[end] == '\\' ? 2 : 1;
                end = Math.Min(end + 1, json.Length);
                found.Add((i, end, json.AsSpan(end).TrimStart().StartsWith(":")));
                i = end - 1;
            }
            else if (json[i] is '{' or '[')
                open.Push(i);
            else if (json[i] is '}' or ']' && open.TryPop(out var from))
                found.Add((from, end, false));
            else if (char.IsLetterOrDigit(json[i]) || json[i] == '-')
            {
                while (end < json.Length && (char.IsLetterOrDigit(json[end]) || json[end] is '-' or '+' or '.'))
                    end++;
                found.Add((i, end, false));
                i = end - 1;
            }
        }
        return found;
    }
}
