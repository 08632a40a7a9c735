using System.Diagnostics;
using System.Globalization;
using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>What one process of a job does that a test has started.</summary>
internal static class RankProcess
{
    /// <summary>The first argument of such a process; the second one says what it does.</summary>
    internal const string Argument = "--rank";

    /// <summary>All checks of the contract; a number behind it is the most bytes in one call of MPI.</summary>
    internal const string Contract = "contract";

    /// <summary>What a window takes, of a model in a folder, with a number of tokens.</summary>
    private const string Memory = "memory";

    /// <summary>Starts this program as several ranks.</summary>
    internal static MpiJob Start(string launcher, int size, string work) =>
        MpiJob.Run(launcher, size, [Path.Combine(AppContext.BaseDirectory, "LongLora.Tests"), Argument, work]);

    /// <summary>Runs as one of them, and gives the exit code.</summary>
    internal static int Run(string work)
    {
        LibTorch.EnsureLoaded();
        var words = work.Split(' ');
        var launcher = Launcher.Find(Environment.GetEnvironmentVariable)!;
        MpiCommunicator communicator;
        try
        {
            var pieces = words is [Contract, var bytes] ? long.Parse(bytes, CultureInfo.InvariantCulture) : 1 << 30;
            communicator = MpiCommunicator.Open(launcher, TimeSpan.FromSeconds(8), Console.Error.WriteLine, pieces);
        }
        catch (ConfigurationException e)
        {
            if (launcher.Rank == 0)
                Console.Error.WriteLine(e.Message);
            return 2;
        }
        try
        {
            if (words[0] == Contract)
                KeepContract(communicator);
            else if (words is [Memory, var model, var tokens])
                WindowMemory.Measure(communicator, model, int.Parse(tokens, CultureInfo.InvariantCulture));
            else
                Suffer(communicator, words[0], words.Length > 1 ? int.Parse(words[1], CultureInfo.InvariantCulture) : -1);
            communicator.Dispose(); // not if something fails: it would wait for ranks that never come
            return 0;
        }
        catch (Exception e)
        {
            communicator.Abort(3, e.Message);
            throw;
        }
    }

    private static void KeepContract(MpiCommunicator communicator)
    {
        foreach (var (name, check) in CommunicatorChecks.All)
        {
            check(communicator);
            if (communicator.Rank == 0)
                Console.WriteLine($"{name}: {communicator.Size} ranks of {communicator.Library}");
        }
        Assert.Throws<NullReferenceException>(() => ((string)null!).Length.ToString(CultureInfo.InvariantCulture)); // SIGSEGV is .NET's
    }

    // Steps of a tenth of a second each; at the fifth, something happens to one rank.
    private static void Suffer(MpiCommunicator communicator, string what, int victim)
    {
        using var tensor = ones(1 << 16);
        for (var step = 0; step < 200; step++)
        {
            Thread.Sleep(100);
            communicator.Tick();
            if (step == 5 && (communicator.Rank == victim || victim < 0))
                Happen(what, communicator);
            if (what == "slow" && step == 8)
                return;
            communicator.AllReduce(tensor, Reduction.Sum).Wait();
            tensor.fill_(Scalars.One);
        }
    }

    private static void Happen(string what, MpiCommunicator communicator)
    {
        Console.Error.WriteLine($"rank {communicator.Rank} pid {Environment.ProcessId}: now {what}");
        switch (what)
        {
            case "kill" or "stop":
                using (var kill = Process.Start("kill", $"-{what.ToUpperInvariant()} {Environment.ProcessId}"))
                    kill.WaitForExit();
                break;
            case "hang":
                Thread.Sleep(Timeout.Infinite);
                break;
            case "throw":
                throw new InvalidDataException("a bad file");
            case "slow": // 12 s, but alive
                for (var i = 0; i < 60; i++)
                {
                    Thread.Sleep(200);
                    communicator.Tick();
                }
                break;
            case "part": // as many operations as the others, but another one
                communicator.Broadcast(zeros(1), 0).Wait();
                communicator.Exchange([], [((communicator.Rank + 1) % communicator.Size, zeros(1))]).Wait();
                break;
        }
    }
}
