namespace LongLora.Models;

/// <summary>A row of a cache. Rows of several caches may be read in one pass.</summary>
/// <param name="Cache">The cache.</param>
/// <param name="Row">Number of its row.</param>
internal readonly record struct CachedRow(KeyValueCache Cache, int Row)
{
    /// <summary>Tokens that the row holds.</summary>
    public int Length => Cache.GetLength(Row);
}
