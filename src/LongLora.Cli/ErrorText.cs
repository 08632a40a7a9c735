using System.Runtime.InteropServices;
using LongLora.Distributed;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>What the command line says about an error, and the exit code that belongs to it.</summary>
internal static class ErrorText
{
    /// <summary>Exit code and message.</summary>
    /// <param name="context">Says whether stack traces are wanted.</param>
    /// <param name="e">The error.</param>
    internal static (int Code, string Text) Explain(this CliContext context, Exception e)
    {
        var (isKnown, isMemory) = (e is LongLoraException, IsOutOfMemory(e));
        var text =
            isKnown ? FlagWords.Translate(e.Message)
            : isMemory ? ExplainOutOfMemory(e)
            : $"Internal error: {e.GetType().Name}: {e.Message}";
        if (!context.IsVerbose && !isKnown && !isMemory)
            text += Environment.NewLine + "Run again with --verbose for details, and please report this.";
        var code = e switch
        {
            ConfigurationException => ExitCode.Usage,
            _ when isMemory => ExitCode.Usage,
            CheckpointException or DataException => ExitCode.Input,
            CommunicationException => ExitCode.RankLost,
            _ => ExitCode.Fault,
        };
        return (code, text);
    }

    // libtorch's messages for host memory and for GPU memory.
    private static bool IsOutOfMemory(Exception e) =>
        e is OutOfMemoryException or ConfigurationException { InnerException: OutOfMemoryException }
        || (
            e is ExternalException
            && (
                e.Message.Contains("can't allocate memory", StringComparison.Ordinal)
                || e.Message.Contains("out of memory", StringComparison.Ordinal)
            )
        );

    private static string ExplainOutOfMemory(Exception e) =>
        $"Out of memory: {e.Message.Split('\n')[0]} Use longlora plan to see how much memory a training run needs. To use less, "
        + "try a shorter --context, --activation-memory 0, --activation-offload disk (host on CUDA), a higher --blocks-per-segment, "
        + "--quantization nf4, or a smaller --batch-size.";
}
