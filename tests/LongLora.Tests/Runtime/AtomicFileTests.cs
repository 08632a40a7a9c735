using System.Diagnostics;
using LongLora.Runtime;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Tests.Runtime;

public class AtomicFileTests
{
    // No process has this number: Linux has at most 2^22, and Windows' are multiples of 4.
    private const int NoProcess = 2_000_000_001;

    [Fact]
    public void Write_new_file_makes_its_folders()
    {
        using var folder = new TemporaryFolder();
        AtomicFile.WriteText(folder["a", "b", "c.txt"], "tëxt");
        Assert.Equal("tëxt"u8.ToArray(), File.ReadAllBytes(folder["a", "b", "c.txt"]));
    }

    [Fact]
    public void Write_exception_in_the_middle_leaves_the_old_file_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        var path = folder.Text("x", "old");
        Assert.Throws<InvalidOperationException>(() => AtomicFile.Write(path, stream =>
            {
                stream.Write("new"u8);
                stream.Flush();
                Assert.Equal("old", File.ReadAllText(path));
                throw new InvalidOperationException();
            }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Root));
    }

    [Fact]
    public void Write_unwritable_places_are_named_with_the_reason()
    {
        using var folder = new TemporaryFolder();
        var file = folder.Text("file", "");
        Directory.CreateDirectory(folder["folder"]);
        var below = Assert.Throws<ConfigurationException>(() => AtomicFile.WriteText(Path.Combine(file, "x"), ""));
        Assert.StartsWith($"Cannot write '{Path.Combine(file, "x")}': ", below.Message, StringComparison.Ordinal);
        var onFolder = Assert.Throws<ConfigurationException>(() => AtomicFile.WriteText(folder["folder"], ""));
        Assert.StartsWith($"Cannot write '{folder["folder"]}': ", onFolder.Message, StringComparison.Ordinal);
        Assert.Throws<ConfigurationException>(() => AtomicFile.WriteDirectory(Path.Combine(file, "x"), _ => { }));
        Assert.Equal(2, Directory.GetFileSystemEntries(folder.Root).Length);
    }

    [Fact]
    public void RequireOwn_takes_an_earlier_result_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        AtomicFile.RequireOwn(folder["out"]);
        Directory.CreateDirectory(folder["out"]);
        AtomicFile.RequireOwn(folder["out"]);
        AtomicFile.WriteDirectory(folder["out"], path => File.WriteAllText(Path.Combine(path, "a"), "text"), withChecksums: true);
        AtomicFile.RequireOwn(folder["out"]);
        foreach (var foreign in (string[])["thesis.docx", Path.Combine("notes", "thesis.docx")])
        {
            var first = foreign.Split(Path.DirectorySeparatorChar)[0];
            Directory.CreateDirectory(Path.GetDirectoryName(folder["out", foreign])!);
            File.WriteAllText(folder["out", foreign], "years of work");
            var refused = Assert.Throws<ConfigurationException>(() => AtomicFile.RequireOwn(folder["out"]));
            Assert.Contains($"'{first}' in it is not from an earlier result", refused.Message, StringComparison.Ordinal);
            AtomicFile.Delete(folder["out", first]);
        }
        AtomicFile.Delete(folder["out", Checksums.FileName]);
        Assert.Throws<ConfigurationException>(() => AtomicFile.RequireOwn(folder["out"]));
    }

    [Fact]
    public void Delete_file_folder_and_nothing()
    {
        using var folder = new TemporaryFolder();
        AtomicFile.Delete(folder.Text("file", ""));
        Directory.CreateDirectory(folder["folder"]);
        folder.Text(Path.Combine("folder", "file"), "");
        AtomicFile.Delete(folder["folder"]);
        AtomicFile.Delete(folder["absent", "file"]);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Root));
    }

    [Fact]
    public void Delete_what_cannot_be_deleted_is_named()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "a file that nobody can delete is known only for Linux");
        var message = Assert.Throws<ConfigurationException>(() => AtomicFile.Delete("/proc/self/status")).Message;
        Assert.StartsWith("Cannot delete '/proc/self/status': ", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Guard_full_disk_is_named()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "needs /dev/full");
        var error = Assert.Throws<ConfigurationException>(() => AtomicFile.Guard("out", () =>
            {
                using var full = new FileStream("/dev/full", FileMode.Open, FileAccess.Write);
                full.Write(new byte[10_000]);
            }));
        Assert.StartsWith("Cannot write 'out': No space left on device", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void WriteDirectory_replaces_the_whole_folder()
    {
        using var folder = new TemporaryFolder();
        var path = folder["model"];
        AtomicFile.WriteDirectory(path, aside => File.WriteAllText(Path.Combine(aside, "one"), "1"));
        AtomicFile.WriteDirectory(path, aside =>
        {
            Assert.True(File.Exists(Path.Combine(path, "one")));
            Directory.CreateDirectory(Path.Combine(aside, "deep"));
            File.WriteAllText(Path.Combine(aside, "deep", "two"), "2");
        });
        Assert.Equal(
            [folder["model"], folder["model", "deep"], folder["model", "deep", "two"]],
            Directory.GetFileSystemEntries(folder.Root, "*", SearchOption.AllDirectories).Order()
        );
    }

    [Fact]
    public void WriteDirectory_exception_in_the_middle_leaves_the_old_folder_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        AtomicFile.WriteDirectory(folder["model"], aside => File.WriteAllText(Path.Combine(aside, "one"), "1"));
        Assert.Throws<InvalidOperationException>(() => AtomicFile.WriteDirectory(folder["model"], aside =>
            {
                File.WriteAllText(Path.Combine(aside, "two"), "2");
                throw new InvalidOperationException();
            }));
        Assert.Equal(
            [folder["model"], folder["model", "one"]],
            Directory.GetFileSystemEntries(folder.Root, "*", SearchOption.AllDirectories).Order()
        );
    }

    [Fact]
    public void Write_removes_what_a_dead_process_left_and_nothing_of_a_living_one()
    {
        using var folder = new TemporaryFolder();
        using var living = Process.GetProcesses().First(p => p.Id > 0 && p.Id != Environment.ProcessId);
        Directory.CreateDirectory(folder[$"x.partial-{NoProcess}"]);
        folder.Text($"x.partial-{living.Id}", "");
        folder.Text("x.partial-note", "");
        folder.Text($"xy.partial-{NoProcess}", "");
        AtomicFile.WriteText(folder["x"], "");
        Assert.Equal(
            ["x", $"x.partial-{living.Id}", "x.partial-note", $"xy.partial-{NoProcess}"],
            Directory.GetFileSystemEntries(folder.Root).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public void WriteDirectory_process_killed_between_the_renames_loses_nothing()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder[$"model.old-{NoProcess}"]);
        File.WriteAllText(folder[$"model.old-{NoProcess}", "one"], "1");
        Assert.Throws<InvalidOperationException>(() =>
            AtomicFile.WriteDirectory(folder["model"], _ => throw new InvalidOperationException())
        );
        Assert.Equal("1", File.ReadAllText(folder["model", "one"]));
        Assert.Single(Directory.GetFileSystemEntries(folder.Root));
    }

    [Fact]
    public void Sync_error_of_the_system_is_told_with_the_path()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows reports errors by itself");
        using var closed = new SafeFileHandle(1_000_000, ownsHandle: false);
        var error = Assert.Throws<IOException>(() => DurableFile.Sync(closed, "/run/state"));
        Assert.Contains("'/run/state'", error.Message, StringComparison.Ordinal);
        Assert.Throws<IOException>(() => DurableFile.SyncDirectory("/no/such/folder"));
        using var folder = new TemporaryFolder();
        DurableFile.SyncDirectory(folder.Root);
    }

    [Fact]
    public void WriteDirectory_with_checksums_finds_any_change_of_any_file_and_tells_those_of_texts()
    {
        using var folder = new TemporaryFolder();
        var path = folder["result"];
        AtomicFile.WriteDirectory(
            path,
            aside =>
            {
                File.WriteAllBytes(Path.Combine(aside, "weights"), [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * i))]);
                File.WriteAllText(Path.Combine(aside, "config.json"), "{\"alpha\": 16}");
                File.WriteAllText(Path.Combine(aside, "empty"), "");
            },
            withChecksums: true
        );
        // XxHash128 of nothing, as xxh128sum prints it.
        Assert.Contains("99aa06d3014798d86001c324468d497f  empty\n", File.ReadAllText(folder["result", Checksums.FileName]));
        Assert.Equal(["config.json", "empty", "weights"], Checksums.Verify(path)!.Order());
        File.WriteAllText(folder["result", "README.md"], "a file of the owner");
        var damages = new Damages(7);
        for (var i = 0; i < 200; i++)
        {
            using (damages.Apply(folder["result", "weights"]))
                Assert.Throws<CheckpointException>(() => Checksums.Verify(path));
            var told = new List<string>();
            using var receiving = Notices.Receive(told.Add);
            using (damages.Apply(folder["result", Checksums.FileName]))
            {
                if (Record.Exception(() => Checksums.Verify(path)) is { } error)
                    Assert.IsType<CheckpointException>(error);
                else
                    Assert.Contains(".json' was", Assert.Single(told), StringComparison.Ordinal); // the line of config.json
            }
            // People edit texts by hand; who reads one finds what is wrong in it.
            told.Clear();
            using var edit = damages.Apply(folder["result", "config.json"]);
            using var again = Notices.Receive(told.Add);
            Checksums.Verify(path);
            Checksums.Verify(path);
            Assert.Contains($"'{folder["result", "config.json"]}' was edited", Assert.Single(told), StringComparison.Ordinal);
        }
        Assert.NotNull(Checksums.Verify(path));
        File.Delete(folder["result", "empty"]);
        Assert.Contains("is missing", Assert.Throws<CheckpointException>(() => Checksums.Verify(path)).Message, StringComparison.Ordinal);
        File.Delete(folder["result", Checksums.FileName]);
        Assert.Null(Checksums.Verify(path));
    }
}
