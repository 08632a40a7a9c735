using LongLora.Tests.Distributed;
using Xunit.MicrosoftTestingPlatform;
using Xunit.Runner.InProc.SystemConsole;

namespace LongLora.Tests;

/// <summary>The tests, or one rank of a job that a test has started.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        if (args is [RankProcess.Argument, var work])
            return RankProcess.Run(work);
        return args.Any(a => a is "--server" or "--internal-msbuild-node")
            ? await TestPlatformTestFramework.RunAsync(args, SelfRegisteredExtensions.AddSelfRegisteredExtensions)
            : await ConsoleRunner.Run(args);
    }
}
