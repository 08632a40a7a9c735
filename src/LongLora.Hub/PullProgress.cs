namespace LongLora.Hub;

/// <summary>How far a download is.</summary>
/// <param name="DoneBytes">Bytes of the files that are there and right, or have come so far.</param>
/// <param name="AllBytes">Bytes of all files that are needed.</param>
/// <param name="BytesPerSecond">What comes in at the moment; 0 while nothing is known.</param>
/// <param name="TimeLeft">How long the rest takes at this speed; null while nothing is known.</param>
/// <param name="Waiting">What is waited for besides the files, such as another process; null for nothing.</param>
public sealed record PullProgress(long DoneBytes, long AllBytes, double BytesPerSecond, TimeSpan? TimeLeft, string? Waiting);
