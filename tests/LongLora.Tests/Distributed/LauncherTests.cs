using LongLora.Distributed;
using LongLora.Runtime;

namespace LongLora.Tests.Distributed;

public class LauncherTests
{
    private static Func<string, string?> Environment(params (string Name, string Value)[] variables) =>
        name => variables.FirstOrDefault(v => v.Name == name).Value;

    [Fact]
    public void Find_a_launcher_says_rank_size_and_library()
    {
        var openMpi = Launcher.Find(Environment(("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3"), ("PMIX_RANK", "3")))!;
        Assert.Equal((3, 4, "libmpi.so.40"), (openMpi.Rank, openMpi.Size, openMpi.Libraries.Single()));
        var mpich = Launcher.Find(Environment(("PMI_SIZE", "2"), ("PMI_RANK", "1")))!;
        Assert.Equal((1, 2, "libmpich.so.12"), (mpich.Rank, mpich.Size, mpich.Libraries[0]));
        var slurm = Launcher.Find(Environment(("PMIX_RANK", "5"), ("SLURM_NTASKS", "16"), ("SLURM_STEP_NUM_TASKS", "8")))!;
        Assert.Equal((5, 8), (slurm.Rank, slurm.Size));
        Assert.Contains("libmpi.so.40", slurm.Libraries);
        Assert.Contains("libmpich.so.12", slurm.Libraries);
        var pmi2 = Launcher.Find(
            Environment(("PMI_SIZE", "8"), ("PMI_RANK", "5"), ("PMI_JOBID", "4.0"), ("SLURM_NTASKS", "16"), ("SLURM_STEP_NUM_TASKS", "8"))
        )!;
        Assert.Equal(("srun", 5, 8), (pmi2.Name, pmi2.Rank, pmi2.Size));
        Assert.Equal(["libmpich.so.12", "libmpi.so.12", "libmpi.so.40"], pmi2.Libraries);
        Assert.Equal("MPICH's mpirun", mpich.Name);
    }

    [Fact]
    public void Find_a_process_on_its_own_has_no_launcher()
    {
        Assert.Null(Launcher.Find(Environment()));
        Assert.Null(Launcher.Find(Environment(("SLURM_NTASKS", "16")))); // in the script of a batch job
    }

    [Fact]
    public void Find_what_is_no_number_is_refused()
    {
        var error = Assert.Throws<ConfigurationException>(() => Launcher.Find(Environment(("PMI_SIZE", "two"))));
        Assert.Contains("PMI_SIZE is 'two'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RequireNoLooseTasks_tasks_that_do_not_know_each_other_are_refused()
    {
        var error = Assert.Throws<ConfigurationException>(() => Launcher.RequireNoLooseTasks(Environment(("SLURM_NTASKS", "4"))));
        Assert.Contains("SLURM_NTASKS is 4", error.Message, StringComparison.Ordinal);
        Assert.Contains("--mpi=pmix", error.Message, StringComparison.Ordinal);
        Launcher.RequireNoLooseTasks(Environment(("SLURM_NTASKS", "1")));
        Launcher.RequireNoLooseTasks(Environment(("SLURM_NTASKS", "4"), ("PMIX_RANK", "0")));
        Launcher.RequireNoLooseTasks(Environment(("SLURM_NTASKS", "4"), ("OMPI_COMM_WORLD_SIZE", "4")));
    }

    [Theory]
    [InlineData(null, 0, 1, null)] // one rank has all
    [InlineData(null, 3, 8, "3")]
    [InlineData("4,5,6,7", 2, 4, "6")]
    [InlineData("GPU-aa, GPU-bb", 1, 2, "GPU-bb")]
    [InlineData("5", 1, 2, null)] // the launcher gave each rank its own
    [InlineData("", 1, 2, null)] // none is to be seen
    public void ChooseDevice_gives_each_rank_its_own(string? visible, int localRank, int localSize, string? expected) =>
        Assert.Equal(expected, Job.ChooseDevice(visible, localRank, localSize));
}
