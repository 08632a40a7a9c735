using LongLora.Runtime;

namespace LongLora.Distributed;

/// <summary>
/// The ranks of a job can no longer work together: one is gone or stuck, or a message between them failed. The job can be resumed.
/// </summary>
internal sealed class CommunicationException(string message, Exception? inner = null) : LongLoraException(message, inner)
{
    /// <summary>The exit code of a job that lost a rank: 75, "try again" (EX_TEMPFAIL).</summary>
    internal const int ExitCode = 75;
}
