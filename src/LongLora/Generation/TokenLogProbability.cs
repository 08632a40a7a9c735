namespace LongLora.Generation;

// V vocabulary

/// <summary>How likely a chosen token was.</summary>
/// <param name="Token">Its id.</param>
/// <param name="LogProbability">Natural logarithm of its probability.</param>
/// <param name="Likeliest">
/// As many of the likeliest tokens in its place as were asked for, likeliest first; the chosen one need not be among them.
/// </param>
public sealed record TokenLogProbability(int Token, double LogProbability, IReadOnlyList<(int Token, double LogProbability)> Likeliest);
