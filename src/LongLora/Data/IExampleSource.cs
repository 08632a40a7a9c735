namespace LongLora.Data;

/// <summary>
/// A sequence of documents or examples, always in the same order. It is read lazily, so a corpus may be larger than memory.
/// </summary>
public interface IExampleSource
{
    /// <summary>Reads from the start.</summary>
    /// <exception cref="LongLora.Runtime.DataException">
    /// A line or file cannot be read. The message names it as <c>file:line</c>.
    /// </exception>
    IEnumerable<TrainingExample> Read(CancellationToken cancellation = default);
}
