using System.Globalization;

namespace LongLora.Runtime;

/// <summary>The limit on the addresses of this process, <c>ulimit -v</c>. Mapped files count too, so it is seldom what is meant.</summary>
internal static class AddressSpace
{
    private const string Limits = "/proc/self/limits";

    /// <summary>The limit in bytes; null for none, and on systems that do not say.</summary>
    public static long? Limit => FindLimit("Max address space");

    /// <summary>A limit of this process by its name in <c>/proc/self/limits</c>; null for none, and on systems that do not say.</summary>
    internal static long? FindLimit(string name)
    {
        try
        {
            var line = File.Exists(Limits)
                ? File.ReadLines(Limits).FirstOrDefault(l => l.StartsWith(name, StringComparison.Ordinal))
                : null;
            var word = line?[name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault();
            return long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) ? bytes : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The limit in words behind "too small"; empty without one.</summary>
    public static string DescribeLimit() =>
        Limit is { } bytes ? string.Create(CultureInfo.InvariantCulture, $": ulimit -v allows {bytes >> 20:N0} MiB") : "";
}
