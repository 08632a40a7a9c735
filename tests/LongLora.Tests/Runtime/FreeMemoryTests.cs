using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

public sealed class FreeMemoryTests : IDisposable
{
    private const long Mebi = 1 << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private void Write(string path, string text)
    {
        var file = _folder[path];
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    private long? Count() => FreeMemory.CountOnLinux(_folder.Root);

    [Fact]
    public void Count_is_the_least_of_system_and_groups()
    {
        if (!OperatingSystem.IsLinux())
            return;
        Write("proc/meminfo", "MemTotal:        2097152 kB\nMemFree:          10 kB\nMemAvailable:     819200 kB\n");
        Assert.Equal(800 * Mebi, Count());
        // A group without a limit, in one with a limit.
        Write("proc/self/cgroup", "0::/outer/inner\n");
        Write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
        Write("sys/fs/cgroup/outer/memory.max", $"{500 * Mebi}\n");
        Write("sys/fs/cgroup/outer/memory.current", $"{300 * Mebi}\n");
        Assert.Equal(200 * Mebi, Count());
        Write("sys/fs/cgroup/outer/memory.stat", $"anon 1\ninactive_file {50 * Mebi}\n");
        Assert.Equal(250 * Mebi, Count());
        // The root, where a container sees its own group.
        Write("sys/fs/cgroup/memory.max", $"{400 * Mebi}\n");
        Write("sys/fs/cgroup/memory.current", $"{390 * Mebi}\n");
        Assert.Equal(10 * Mebi, Count());
        Write("sys/fs/cgroup/memory.current", $"{410 * Mebi}\n");
        Assert.Equal(0, Count());
    }

    [Fact]
    public void Count_reads_groups_of_version_1()
    {
        if (!OperatingSystem.IsLinux())
            return;
        Write("proc/meminfo", "MemAvailable:     819200 kB\n");
        Write("proc/self/cgroup", "5:cpu,cpuacct:/job\n4:memory:/job\n");
        Write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", $"{100 * Mebi}\n");
        Write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", $"{70 * Mebi}\n");
        Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        Assert.Equal(30 * Mebi, Count());
    }

    [Fact]
    public void Count_of_this_machine_is_less_than_all()
    {
        var free = FreeMemory.Count(TorchSharp.DeviceType.CPU, 0);
        Assert.NotNull(free);
        Assert.InRange(free.Value, 0, MemoryMeter.GetAvailableBytes(TorchSharp.DeviceType.CPU, 0)!.Value);
    }
}
