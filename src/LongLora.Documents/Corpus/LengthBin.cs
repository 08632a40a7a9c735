namespace LongLora.Documents.Corpus;

/// <summary>Documents whose length lies between two powers of two.</summary>
/// <param name="From">Least length, inclusive.</param>
/// <param name="Below">Greatest length, exclusive.</param>
/// <param name="Documents">How many.</param>
/// <param name="Length">Their lengths together.</param>
public readonly record struct LengthBin(long From, long Below, long Documents, long Length);
