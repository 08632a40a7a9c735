namespace LongLora.Documents.Workers;

/// <summary>Why a program ended its worker.</summary>
internal enum WorkerEnd
{
    /// <summary>The file took too much processor time.</summary>
    Time,

    /// <summary>The file took too much memory.</summary>
    Memory,

    /// <summary>Nobody waits for the file any more.</summary>
    Canceled,

    /// <summary>The worker is not needed, or did not answer.</summary>
    Abandoned,
}
