namespace LongLora.Documents.Questions;

/// <summary>What the documents are. This determines the words around them in an instruction.</summary>
public enum MaterialKind
{
    /// <summary>Any text.</summary>
    Material,

    /// <summary>Scientific papers.</summary>
    Paper,

    /// <summary>Books.</summary>
    Book,
}
