using System.Globalization;

namespace LongLora.Runtime;

/// <summary>
/// Bounds what is shown to people. A message quotes values of files and requests, which may be of any length and hold characters that
/// control a terminal.
/// </summary>
internal static class MessageText
{
    /// <summary>Most characters of a message.</summary>
    public const int Most = 500;

    // A message begins with what is wrong and ends with what to do; what is left out stands between them.
    private const int End = 160;

    /// <summary>The message with at most so many characters, and without characters that control a terminal.</summary>
    /// <param name="message">A message in one or more lines.</param>
    /// <param name="most">Most characters; at least 200.</param>
    public static string Bound(string message, int most = Most)
    {
        if (message.Length > most)
        {
            var end = CutBefore(message, message.Length - End);
            var left = $" [... {message.Length - most:N0} characters ...] ";
            var start = CutBefore(message, most - End - left.Length - 1);
            message = string.Concat(message.AsSpan(0, start), left, message.AsSpan(end));
        }
        return message.AsSpan().IndexOfAnyExceptInRange(' ', '~') < 0
            ? message
            : string.Create(message.Length, message, static (shown, text) =>
            {
                for (var i = 0; i < text.Length; i++)
                    shown[i] = char.IsControl(text[i]) && text[i] is not ('\n' or '\r' or '\t') ? '\uFFFD' : text[i];
            });
    }

    /// <summary>A number of things, such as "1 file" and "2,000 files".</summary>
    /// <param name="number">How many.</param>
    /// <param name="one">The word for one.</param>
    /// <param name="many">The word for any other number; null for the word for one with an s.</param>
    public static string Count(long number, string one, string? many = null) =>
        string.Create(CultureInfo.InvariantCulture, $"{number:N0} {(number == 1 ? one : many ?? one + "s")}");

    // Not between the halves of a character.
    private static int CutBefore(string text, int at) => char.IsLowSurrogate(text[at]) ? at - 1 : at;
}
