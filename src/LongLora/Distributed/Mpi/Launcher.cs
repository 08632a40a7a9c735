using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Distributed;

/// <summary>What the program that started this process, such as <c>mpirun</c> or <c>srun</c>, says about its job.</summary>
/// <param name="Name">Name of the launcher, for messages.</param>
/// <param name="Rank">This process.</param>
/// <param name="Size">Processes of the job.</param>
/// <param name="Libraries">Names of the MPI libraries that understand the launcher.</param>
internal sealed record Launcher(string Name, int Rank, int Size, IReadOnlyList<string> Libraries)
{
    private const string OpenMpi = "libmpi.so.40",
        Mpich = "libmpich.so.12",
        MpichAbi = "libmpi.so.12"; // Intel MPI, Cray MPICH, and MPICH outside of Debian

    private static readonly string[] s_ranks = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];

    /// <summary>The launcher of this process; null if it was started by itself.</summary>
    /// <param name="environment">Gives an environment variable.</param>
    /// <exception cref="ConfigurationException">A variable of a launcher is not a number.</exception>
    internal static Launcher? Find(Func<string, string?> environment)
    {
        var rank = s_ranks.Select(name => Number(environment, name)).FirstOrDefault(number => number is not null);
        if (Number(environment, "OMPI_COMM_WORLD_SIZE") is { } ompi)
            return new("Open MPI's mpirun", rank ?? 0, ompi, [OpenMpi]);
        if (Number(environment, "PMI_SIZE") is { } pmi)
        {
            // Slurm's PMI2 names its job; an Open MPI that was built with it understands it too.
            return environment("PMI_JOBID") is { Length: > 0 } && FindTasks(environment) is not null
                ? new("srun", rank ?? 0, pmi, [Mpich, MpichAbi, OpenMpi])
                : new("MPICH's mpirun", rank ?? 0, pmi, [Mpich, MpichAbi]);
        }
        if (Number(environment, "PMIX_RANK") is not null && FindTasks(environment) is { } tasks)
            return new("srun", rank ?? 0, tasks, [OpenMpi, Mpich, MpichAbi]);
        return null;
    }

    /// <summary>Refuses what would make every task of a Slurm job train alone.</summary>
    /// <exception cref="ConfigurationException">There are several tasks, but nothing through which they could find each other.</exception>
    internal static void RequireNoLooseTasks(Func<string, string?> environment)
    {
        if (Find(environment) is null && FindTasks(environment) is > 1 and var tasks)
            throw new ConfigurationException(
                $"Cannot start because SLURM_NTASKS is {tasks}, but this process knows of no other: each task would do the whole job. "
                    + "Start it with srun --mpi=pmix (srun --mpi=list shows what the cluster has), with mpirun, or as one task with "
                    + "srun -n 1."
            );
    }

    private static int? FindTasks(Func<string, string?> environment) =>
        Number(environment, "SLURM_STEP_NUM_TASKS") ?? Number(environment, "SLURM_NTASKS");

    private static int? Number(Func<string, string?> environment, string name)
    {
        if (environment(name) is not { Length: > 0 } text)
            return null;
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw new ConfigurationException($"The environment variable {name} is '{text}', which is not a number of processes.");
    }
}
