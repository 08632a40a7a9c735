using System.Runtime.InteropServices;
using System.Text;
using LongLora.Cli;

if (OperatingSystem.IsWindows())
    Console.OutputEncoding = Encoding.UTF8; // its old code pages have no bars

// The first Ctrl-C, or the end of the terminal or of the machine, lets training save and exit with 130; the second one ends the process.
using var cancellation = new CancellationTokenSource();
void Cancel(PosixSignalContext signal)
{
    if (cancellation.IsCancellationRequested)
        return;
    signal.Cancel = true;
    cancellation.Cancel();
}
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Cancel);
return CliApplication.Run(args, Console.Out, Console.Error, cancellation.Token);
