using System.Runtime.CompilerServices;

namespace LongLora.Tokenization.Jinja;

/// <summary>
/// How much a template may do, since it comes with a model, from anybody. Each step of it, each item that it makes and every 16 characters
/// that it writes count as one. What is nested so deeply that the stack would end is refused too.
/// </summary>
/// <remarks>The templates of all known models use less than a hundredth of it.</remarks>
internal static class JinjaWork
{
    // Less than a second, and some 100 MB of text.
    private const long Base = 2_000_000,
        Most = 100_000_000;

    private const int CharactersPerStep = 16;

    [ThreadStatic]
    private static long t_left;

    [ThreadStatic]
    private static bool t_isLimited;

    /// <summary>Limits what this thread does, until the result is disposed.</summary>
    /// <param name="messages">Messages of the conversation. Some templates look through all of them for each.</param>
    /// <param name="characters">Their characters, which a template may copy some 50 times.</param>
    public static Scope Limit(long messages, long characters)
    {
        var before = new Scope(t_left, t_isLimited);
        (t_left, t_isLimited) = (Math.Min(Most, Base + 1000 * messages + messages * messages + 4 * characters), true);
        return before;
    }

    /// <summary>Counts one step, and looks how much of the stack is left.</summary>
    public static void Step()
    {
        CheckDepth();
        Spend(1);
    }

    /// <summary>Refuses what is nested too deeply.</summary>
    public static void CheckDepth()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw new JinjaException("it is nested too deeply, or a macro calls itself without end");
    }

    /// <summary>Counts items that are made.</summary>
    public static void SpendItems(long count) => Spend(count);

    /// <summary>Counts characters that are written, before they are.</summary>
    public static void SpendText(long characters) => Spend(characters / CharactersPerStep);

    /// <summary>Counts a search for one text in another.</summary>
    public static void SpendSearch(long whole, long part) => Spend(whole / CharactersPerStep * (1 + part / 256));

    /// <summary>Spaces, counted before they are made.</summary>
    public static string MakeBlanks(long count)
    {
        SpendText(count);
        return new string(' ', (int)Math.Clamp(count, 0, int.MaxValue / 2));
    }

    private static void Spend(long steps)
    {
        if (!t_isLimited)
            return;
        t_left -= Math.Min(steps, Most + 1);
        if (t_left < 0)
            throw new JinjaException("it does more than a chat template may: it loops without end, or writes too much text");
    }

    /// <summary>What was allowed before.</summary>
    internal readonly struct Scope(long left, bool isLimited) : IDisposable
    {
        /// <summary>Allows that again.</summary>
        public void Dispose() => (t_left, t_isLimited) = (left, isLimited);
    }
}
