namespace LongLora.Distributed;

/// <summary>Work that this rank waited for failed on another one, which says why: nothing more is to be said here.</summary>
internal sealed class FailedElsewhereException() : Exception("Another rank has failed and says why.");
