using LongLora.Documents.Workers;

/// <summary>
/// The runtime calls this before the program's own code if <c>DOTNET_STARTUP_HOOKS</c> names this library, which only
/// <see cref="WorkerCommand"/> does. So a program needs no verb of its own to be a worker of itself. The name is the runtime's.
/// </summary>
internal static class StartupHook
{
    /// <summary>Reads documents until the program that started this one ends.</summary>
    public static void Initialize()
    {
        if (WorkerCommand.WorkerMemory is not { } memory)
            return;
        WorkerProgram.Run(memory);
        Environment.Exit(0);
    }
}
