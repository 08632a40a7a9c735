using System.Runtime.InteropServices;
using System.Text;
using LongLora.Cli;
using LongLora.Runtime;

if (OperatingSystem.IsWindows())
    Console.OutputEncoding = Encoding.UTF8; // older code pages have no bar characters

LibTorch.Taken = Console.Error.WriteLine;

// The first Ctrl-C, or the end of the terminal or the machine, lets training save and exit with 130. The second one ends the process.
using var interruption = new Interruption();
void Interrupt(PosixSignalContext signal) => signal.Cancel = interruption.Signal();
using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Interrupt);
return CliApplication.Run(args, Console.In, Console.Out, Console.Error, interruption);
