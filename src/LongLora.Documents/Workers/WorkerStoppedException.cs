namespace LongLora.Documents.Workers;

/// <summary>In a worker: nobody needs the rest of the file.</summary>
internal sealed class WorkerStoppedException() : Exception("Nobody needs the rest of the file.");
