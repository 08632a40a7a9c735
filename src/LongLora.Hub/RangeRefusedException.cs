namespace LongLora.Hub;

/// <summary>A server does not send the range that it was asked for.</summary>
/// <param name="message">What it did.</param>
/// <param name="isIgnored">
/// Whether it sent the whole file instead; otherwise it has no bytes there, so what is there is of another file.
/// </param>
internal sealed class RangeRefusedException(string message, bool isIgnored) : Exception(message)
{
    /// <summary>Whether the server knows no ranges.</summary>
    public bool IsIgnored { get; } = isIgnored;
}
