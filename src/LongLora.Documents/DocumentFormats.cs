using LongLora.Data;

namespace LongLora.Documents;

/// <summary>The kinds of documents that need more than the base library. All readers may be used by several threads at once.</summary>
public static class DocumentFormats
{
    /// <summary>HTML (<c>.html</c>, <c>.htm</c>, <c>.xhtml</c>).</summary>
    public static IReadOnlyList<IDocumentReader> All { get; } = [new HtmlReader()];
}
