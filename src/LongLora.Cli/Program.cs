using System.Runtime.InteropServices;
using System.Text;
using LongLora.Cli;
using LongLora.Runtime;

if (OperatingSystem.IsWindows())
    Console.OutputEncoding = Encoding.UTF8; // older code pages have no bar characters

// Open MPI gives ranks a terminal of their own, into which .NET would write control characters.
if (CliJob.IsInJob)
    Environment.SetEnvironmentVariable("TERM", "dumb");

LibTorch.Taken = Console.Error.WriteLine;

// The first Ctrl-C, or the end of the terminal or the machine, lets training save and exit with 130. The second one ends the process.
// Launchers of jobs pass on SIGUSR1 and leave the time to save.
using var interruption = new Interruption();
void Interrupt(PosixSignalContext signal) => signal.Cancel = interruption.Signal();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Interrupt);
using var user = OperatingSystem.IsLinux() ? PosixSignalRegistration.Create((PosixSignal)10, Interrupt) : null;

// A pipe brings text that somebody wrote, and is read as a file is.
using var input = Console.IsInputRedirected ? new Utf8TextReader(Console.OpenStandardInput(), "standard input") : null;
return CliApplication.Run(args, input ?? Console.In, Console.Out, Console.Error, interruption);
