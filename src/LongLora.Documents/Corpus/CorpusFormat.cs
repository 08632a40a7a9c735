namespace LongLora.Documents.Corpus;

/// <summary>What a prepared corpus consists of.</summary>
public enum CorpusFormat
{
    /// <summary><c>documents.jsonl</c>: one object per document, with <c>text</c> and <c>source</c>.</summary>
    Jsonl,

    /// <summary>A folder <c>text</c> with one file per document.</summary>
    Txt,

    /// <summary>
    /// <c>tokens.bin</c>: the tokens of all documents one after the other, each document preceded by BOS, as uint16 for up to 65,536 ids
    /// and as uint32 for more. This is LongLoRA's layout.
    /// </summary>
    Bin,
}
