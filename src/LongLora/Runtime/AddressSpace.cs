using System.Globalization;

namespace LongLora.Runtime;

/// <summary>The limit on the addresses of this process, <c>ulimit -v</c>. Mapped files count too, so it is seldom what is meant.</summary>
internal static class AddressSpace
{
    private const string Limits = "/proc/self/limits",
        Name = "Max address space";

    /// <summary>The limit in bytes; null for none, and on systems that do not say.</summary>
    public static long? Limit
    {
        get
        {
            try
            {
                var line = File.Exists(Limits)
                    ? File.ReadLines(Limits).FirstOrDefault(l => l.StartsWith(Name, StringComparison.Ordinal))
                    : null;
                var word = line?[Name.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault();
                return long.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) ? bytes : null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return null;
            }
        }
    }

    /// <summary>The limit in words behind "too small"; empty without one.</summary>
    public static string DescribeLimit() =>
        Limit is { } bytes ? string.Create(CultureInfo.InvariantCulture, $": ulimit -v allows {bytes >> 20:N0} MiB") : "";
}
