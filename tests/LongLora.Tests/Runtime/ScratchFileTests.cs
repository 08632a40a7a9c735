using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

public class ScratchFileTests
{
    [Fact]
    public void Create_gives_a_file_that_has_no_name()
    {
        using var folder = new TemporaryFolder();
        using var file = ScratchFile.Create(folder.Root, "test");
        file.Write("content"u8);
        file.Position = 2;
        Assert.Equal('n', file.ReadByte());
        Assert.Equal(7, file.Length);
        if (!OperatingSystem.IsWindows())
            Assert.Empty(Directory.GetFileSystemEntries(folder.Root));
    }

    [Fact]
    public void Create_in_a_folder_that_is_not_there_throws() =>
        Assert.ThrowsAny<IOException>(() => ScratchFile.Create("/no/such/folder", "test"));
}
