using System.Globalization;
using System.Numerics;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>One end of a range of numbers.</summary>
/// <param name="Value">Where it is.</param>
/// <param name="IsOut">Whether the value itself is outside.</param>
internal readonly record struct NumberBound(decimal Value, bool IsOut);

/// <summary>
/// The numbers of a range, written without an exponent and with at most <see cref="JsonText.MostDigits"/> digits before and behind the
/// point.
/// </summary>
internal sealed class NumberRange(JsonText json)
{
    private static readonly decimal s_largest = decimal.Parse(new string('9', JsonText.MostDigits), CultureInfo.InvariantCulture);

    private GrammarExpression Digits => Times(json.Digit, 0, JsonText.MostDigits);

    /// <summary>Whole numbers.</summary>
    internal static GrammarExpression Whole(NumberBound? low, NumberBound? high)
    {
        var least = low is { } l
            ? (BigInteger)decimal.Ceiling(l.Value) + (l.IsOut && decimal.IsInteger(l.Value) ? 1 : 0)
            : -(BigInteger)s_largest;
        var most = high is { } h
            ? (BigInteger)decimal.Floor(h.Value) - (h.IsOut && decimal.IsInteger(h.Value) ? 1 : 0)
            : (BigInteger)s_largest;
        var choices = new List<GrammarExpression>();
        if (least < 0)
            choices.Add(Join(Byte("-"), Positive(BigInteger.Max(1, -most), -least)));
        if (least <= 0 && most >= 0)
            choices.Add(Byte("0"));
        if (most > 0)
            choices.Add(Positive(BigInteger.Max(1, least), most));
        return choices.Count == 0 ? Nothing : Any(choices);
    }

    /// <summary>Numbers with or without a fraction.</summary>
    internal GrammarExpression Real(NumberBound? low, NumberBound? high)
    {
        var choices = new List<GrammarExpression>();
        var zero = new NumberBound(0, false);
        if (low is null or { Value: < 0 })
        {
            var near = high is { Value: <= 0 } h ? new NumberBound(-h.Value, h.IsOut) : zero;
            var far = low is { } l ? new NumberBound(-l.Value, l.IsOut) : new NumberBound(s_largest, false);
            choices.Add(Join(Byte("-"), Between(near, far)));
        }
        if (high is null or { Value: >= 0 })
            choices.Add(Between(low is { Value: >= 0 } l ? l : zero, high ?? new NumberBound(s_largest, false)));
        return Any(choices);
    }

    private GrammarExpression Between(NumberBound low, NumberBound high)
    {
        if (low.Value > high.Value || (low.Value == high.Value && (low.IsOut || high.IsOut)))
            return Nothing;
        var (first, last) = (decimal.Truncate(low.Value), decimal.Truncate(high.Value));
        var (after, before) = (Fraction(low.Value), Fraction(high.Value));
        if (first == last)
            return Join(Text(Write(first)), Inside(after, low.IsOut, before, high.IsOut));
        var choices = new List<GrammarExpression>
        {
            Join(Text(Write(first)), Above(after, low.IsOut)),
            Join(Text(Write(last)), Below(before, high.IsOut)),
        };
        if (first + 1 <= last - 1)
        {
            var whole = Positive((BigInteger)(first + 1), (BigInteger)(last - 1));
            choices.Add(Join(whole, Optional(Join(Byte("."), Byte('0', '9'), Digits))));
        }
        return Any(choices);
    }

    private static string Write(decimal whole) => ((BigInteger)whole).ToString(CultureInfo.InvariantCulture);

    private static string Fraction(decimal value)
    {
        var text = value.ToString(CultureInfo.InvariantCulture);
        return text.IndexOf('.', StringComparison.Ordinal) is >= 0 and var at ? text[(at + 1)..].TrimEnd('0') : "";
    }

    // What stands behind the whole part: a fraction, or nothing for zero.
    private GrammarExpression Above(string fraction, bool isOut)
    {
        var some = Join(Byte("."), DigitsAbove(fraction, isOut, isFirst: true));
        return fraction.Length == 0 && !isOut ? Optional(some) : some;
    }

    private GrammarExpression Below(string fraction, bool isOut) =>
        fraction.Length == 0
            ? isOut
                ? Nothing
                : Optional(Join(Byte("."), ZeroRunOnce()))
            : Optional(Join(Byte("."), DigitsBelow(fraction, isOut, mayEnd: false)));

    private GrammarExpression Inside(string low, bool lowOut, string high, bool highOut)
    {
        var length = Math.Max(low.Length, high.Length);
        var some = Join(Byte("."), DigitsInside(low.PadRight(length, '0'), lowOut, high.PadRight(length, '0'), highOut, mayEnd: false));
        return low.Length == 0 && !lowOut && !(high.Length == 0 && highOut) ? Optional(some) : some;
    }

    // Zeros are bounded as all digits are.
    private GrammarExpression NotZero() => Join(ZeroRun(), Byte('1', '9'), Digits);

    private static GrammarExpression ZeroRun()
    {
        var run = Empty;
        for (var i = 0; i < JsonText.MostDigits - 1; i++)
            run = Optional(Join(Byte("0"), run));
        return run;
    }

    private GrammarExpression DigitsAbove(string low, bool isOut, bool isFirst)
    {
        low = low.TrimEnd('0');
        if (low.Length == 0)
            return isOut ? NotZero()
                : isFirst ? Join(Byte('0', '9'), Digits)
                : Digits;
        var digit = low[0];
        var choices = new List<GrammarExpression> { Join(Byte($"{digit}"), DigitsAbove(low[1..], isOut, isFirst: false)) };
        if (digit < '9')
            choices.Add(Join(Byte(digit + 1, '9'), Digits));
        return Any(choices);
    }

    private GrammarExpression DigitsBelow(string high, bool isOut, bool mayEnd)
    {
        high = high.TrimEnd('0');
        if (high.Length == 0)
            return isOut ? Nothing
                : mayEnd ? Optional(ZeroRunOnce())
                : ZeroRunOnce();
        var digit = high[0];
        var rest = high[1..].TrimEnd('0');
        var choices = new List<GrammarExpression>();
        if (rest.Length > 0 || !isOut)
            choices.Add(Join(Byte($"{digit}"), DigitsBelow(rest, isOut, mayEnd: true)));
        if (digit > '0')
            choices.Add(Join(Byte('0', digit - 1), Digits));
        if (mayEnd)
            choices.Add(Empty);
        return choices.Count == 0 ? Nothing : Any(choices);
    }

    private static GrammarExpression ZeroRunOnce() => Join(Byte("0"), ZeroRun());

    private GrammarExpression DigitsInside(string low, bool lowOut, string high, bool highOut, bool mayEnd)
    {
        var choices = new List<GrammarExpression>();
        var isLowZero = low.TrimEnd('0').Length == 0;
        var isHighZero = high.TrimEnd('0').Length == 0;
        if (mayEnd && isLowZero && !lowOut && !(isHighZero && highOut))
            choices.Add(Empty);
        if (low.Length == 0)
        {
            if (!lowOut && !highOut)
                choices.Add(ZeroRunOnce());
            return choices.Count == 0 ? Nothing : Any(choices);
        }
        var (from, to) = (low[0], high[0]);
        if (from == to)
        {
            choices.Add(Join(Byte($"{from}"), DigitsInside(low[1..], lowOut, high[1..], highOut, mayEnd: true)));
            return Any(choices);
        }
        choices.Add(Join(Byte($"{from}"), DigitsAbove(low[1..], lowOut, isFirst: false)));
        if (to - from > 1)
            choices.Add(Join(Byte(from + 1, to - 1), Digits));
        // A high end of zeros that is out has no text with its own first digit, not even one that ends there.
        if (high[1..].TrimEnd('0').Length > 0 || !highOut)
            choices.Add(Join(Byte($"{to}"), DigitsBelow(high[1..], highOut, mayEnd: true)));
        return Any(choices);
    }

    // Whole numbers from 1 on, length by length.
    private static GrammarExpression Positive(BigInteger least, BigInteger most)
    {
        most = BigInteger.Min(most, (BigInteger)s_largest);
        var choices = new List<GrammarExpression>();
        for (var length = 1; length <= JsonText.MostDigits; length++)
        {
            var low = BigInteger.Max(least, BigInteger.Pow(10, length - 1));
            var high = BigInteger.Min(most, BigInteger.Pow(10, length) - 1);
            if (low <= high)
                choices.Add(SameLength(low.ToString(CultureInfo.InvariantCulture), high.ToString(CultureInfo.InvariantCulture)));
        }
        return choices.Count == 0 ? Nothing : Any(choices);
    }

    private static GrammarExpression SameLength(string low, string high)
    {
        if (low.Length == 0)
            return Empty;
        if (low.All(d => d == '0') && high.All(d => d == '9'))
            return Join([.. low.Select(_ => Byte('0', '9'))]);
        var (from, to) = (low[0], high[0]);
        if (from == to)
            return Join(Byte($"{from}"), SameLength(low[1..], high[1..]));
        var choices = new List<GrammarExpression>
        {
            Join(Byte($"{from}"), SameLength(low[1..], new string('9', low.Length - 1))),
            Join(Byte($"{to}"), SameLength(new string('0', low.Length - 1), high[1..])),
        };
        if (to - from > 1)
            choices.Add(Join(Byte(from + 1, to - 1), SameLength(new string('0', low.Length - 1), new string('9', low.Length - 1))));
        return Any(choices);
    }
}
