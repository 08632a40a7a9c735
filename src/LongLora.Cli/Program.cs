using System.Runtime.InteropServices;
using LongLora.Cli;

// The first Ctrl-C lets training save and exit with 130; the second one ends the process.
using var cancellation = new CancellationTokenSource();
void Cancel(PosixSignalContext signal)
{
    if (cancellation.IsCancellationRequested)
        return;
    signal.Cancel = true;
    Console.Error.WriteLine("\nStopping after this micro-batch; press Ctrl-C again to stop at once, without saving.");
    cancellation.Cancel();
}
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
return CliApplication.Run(args, Console.Out, Console.Error, cancellation.Token);
