namespace LongLora.Documents.Corpus;

/// <summary>What a prepared corpus consists of.</summary>
public enum CorpusFormat
{
    /// <summary><c>documents.jsonl</c>: one object a document, with <c>text</c> and <c>source</c>.</summary>
    Jsonl,

    /// <summary>A folder <c>text</c> with one file a document.</summary>
    Txt,

    /// <summary>
    /// <c>tokens.bin</c>: the tokens of all documents one after the other, uint16 up to 65,536 ids and uint32 above, each document behind
    /// BOS: LongLoRA's layout.
    /// </summary>
    Bin,
}
