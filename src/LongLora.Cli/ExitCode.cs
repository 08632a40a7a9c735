using LongLora.Distributed;

namespace LongLora.Cli;

/// <summary>Exit codes. Scripts depend on them.</summary>
public static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Done = 0;

    /// <summary>A bug in this program.</summary>
    public const int Fault = 1;

    /// <summary>Wrong usage, recipe or option.</summary>
    public const int Usage = 2;

    /// <summary>A model or data file is missing, damaged or not supported.</summary>
    public const int Input = 3;

    /// <summary>A rank of a job was lost. The training run can be resumed.</summary>
    public const int RankLost = CommunicationException.ExitCode;

    /// <summary>Interrupted. A training run can be resumed.</summary>
    public const int Interrupted = 130;
}
