namespace LongLora.Documents.Corpus;

/// <summary>Documents whose length is between two powers of two.</summary>
/// <param name="From">Smallest length, inclusive.</param>
/// <param name="Below">Largest length, exclusive.</param>
/// <param name="Documents">Number of documents.</param>
/// <param name="Length">The sum of their lengths.</param>
public readonly record struct LengthBin(long From, long Below, long Documents, long Length);
