using LongLora.Build;

namespace LongLora.Tests.Build;

public class ElfVersionNeedTests
{
    private static readonly string? s_library = Directory
        .EnumerateFiles(AppContext.BaseDirectory, "libLibTorchSharp.so", SearchOption.AllDirectories)
        .FirstOrDefault();

    [Fact]
    public void Weaken_library_of_this_build_was_already_mended()
    {
        Assert.SkipWhen(s_library is null, "not a Linux build");
        Assert.Equal(WeakenResult.NothingToDo, ElfVersionNeed.Weaken(File.ReadAllBytes(s_library!), "GLIBCXX_3.4.32", out var reason));
        Assert.Equal("already weak", reason);
    }

    [Fact]
    public void Weaken_version_that_is_used_is_refused_and_leaves_the_file()
    {
        Assert.SkipWhen(s_library is null, "not a Linux build");
        var image = File.ReadAllBytes(s_library!);
        var before = image.ToArray();
        Assert.Equal(WeakenResult.Refused, ElfVersionNeed.Weaken(image, "GLIBCXX_3.4.21", out var reason));
        Assert.Contains("uses", reason, StringComparison.Ordinal);
        Assert.Equal(before, image);
    }

    [Fact]
    public void Weaken_version_that_is_not_required_does_nothing()
    {
        Assert.SkipWhen(s_library is null, "not a Linux build");
        Assert.Equal(WeakenResult.NothingToDo, ElfVersionNeed.Weaken(File.ReadAllBytes(s_library!), "GLIBCXX_9.9.9", out _));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(64)]
    [InlineData(4096)]
    public void Weaken_damaged_file_is_refused(int length)
    {
        var image = new byte[length];
        new byte[] { 0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1 }.CopyTo(image, 0);
        image.AsSpan(6).Fill(0xff);
        Assert.Equal(WeakenResult.Refused, ElfVersionNeed.Weaken(image, "GLIBCXX_3.4.32", out _));
    }
}
