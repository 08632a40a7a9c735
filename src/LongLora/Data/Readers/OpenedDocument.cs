namespace LongLora.Data;

/// <summary>One text of a file, open for reading.</summary>
/// <param name="Text">The text from its start. Valid until the next document is requested.</param>
/// <param name="Origin">Where it comes from, such as <c>book.txt</c> or <c>data.jsonl:17</c>, for messages.</param>
public readonly record struct OpenedDocument(TextReader Text, string Origin);
