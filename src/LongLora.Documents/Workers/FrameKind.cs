namespace LongLora.Documents.Workers;

/// <summary>What a frame between a program and its worker says.</summary>
internal enum FrameKind : byte
{
    /// <summary>From the worker: it is ready.</summary>
    Ready = 1,

    /// <summary>To the worker: read a file.</summary>
    Request,

    /// <summary>From the worker: it needs a part of the file.</summary>
    Need,

    /// <summary>To the worker: the part; empty at the end of the file.</summary>
    Bytes,

    /// <summary>From the worker: a document begins.</summary>
    Document,

    /// <summary>From the worker: a piece of the document's text.</summary>
    Text,

    /// <summary>From the worker: a record, as JSON.</summary>
    Record,

    /// <summary>From the worker: it has sent much and waits.</summary>
    Pause,

    /// <summary>To the worker: go on.</summary>
    GoOn,

    /// <summary>To the worker: nobody needs the rest of the file.</summary>
    Stop,

    /// <summary>From the worker: that was all of the file.</summary>
    Done,

    /// <summary>From the worker: the file cannot be read. The text is the whole message.</summary>
    Refused,

    /// <summary>From the worker: the file needs too much memory.</summary>
    OutOfMemory,

    /// <summary>From the worker: a document has too many characters.</summary>
    TooLong,

    /// <summary>From the worker: its reader failed in a way that nobody foresaw. The text says how.</summary>
    Failed,
}
