using System.Diagnostics;
using System.IO.Compression;
using System.Xml.Linq;

namespace LongLora.Samples.Tests;

/// <summary>The packages as they are made from what is built: what is in them and what they say.</summary>
public sealed class PackageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    [Fact]
    public async Task Packages_say_what_they_are_and_bring_what_they_need()
    {
        await PackAsync(TestContext.Current.CancellationToken);
        foreach (
            var name in new[]
            {
                "LongLora",
                "LongLora.Documents",
                "LongLora.Hub",
                "LongLora.Reports",
                "LongLora.Extensions.AI",
                "LongLora.Server",
            }
        )
        {
            var (files, metadata, needs) = Open(
                Assert.Single(Directory.GetFiles(_folder, $"{name}.*.nupkg"), f => char.IsDigit(Path.GetFileName(f)[name.Length + 1])),
                name
            );
            string Said(string element) => metadata.Elements().Single(e => e.Name.LocalName == element).Value;
            Assert.Equal((name, "MIT", "PACKAGE.md"), (Said("id"), Said("license"), Said("readme")));
            Assert.True(Said("description").Length > 20 && Said("description") != "Package Description", name);
            Assert.Superset(new HashSet<string> { $"lib/net10.0/{name}.dll", $"lib/net10.0/{name}.xml", "PACKAGE.md", "LICENSE" }, files);
            // The application chooses the native library.
            Assert.DoesNotContain(needs, need =>
                need.StartsWith("libtorch", StringComparison.OrdinalIgnoreCase) || need.StartsWith("TorchSharp-", StringComparison.Ordinal)
            );
            Assert.Contains(name == "LongLora" ? "TorchSharp" : "LongLora", needs);
            Assert.Equal(name == "LongLora", files.Contains("buildTransitive/LongLora.targets"));
            Assert.Equal(name == "LongLora", files.Contains("buildTransitive/WeakenVersionNeed.cs"));
            var symbols = Assert.Single(Directory.GetFiles(_folder, $"{name}.*.snupkg"), f =>
                char.IsDigit(Path.GetFileName(f)[name.Length + 1])
            );
            Assert.Contains($"lib/net10.0/{name}.pdb", Open(symbols, name).Files);
        }
    }

    private static (HashSet<string> Files, XElement Metadata, List<string> Needs) Open(string path, string name)
    {
        using var zip = ZipFile.OpenRead(path);
        using var nuspec = zip.GetEntry(name + ".nuspec")!.Open();
        var metadata = XDocument.Load(nuspec).Root!.Elements().Single();
        return (
            [.. zip.Entries.Select(e => e.FullName)],
            metadata,
            [.. metadata.Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value)]
        );
    }

    // Nothing is restored or built: it packs what the tests were built from.
    private async Task PackAsync(CancellationToken stop)
    {
        var configuration = new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name;
        var start = new ProcessStartInfo(
            "dotnet",
            [
                "msbuild",
                Repository.At("build", "packages.proj"),
                "-t:Pack",
                "-p:NoBuild=true",
                $"-p:Configuration={configuration}",
                $"-p:PackageOutputPath={_folder}",
                "-nodeReuse:false",
                "-v:quiet",
            ]
        )
        {
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var said = await process.StandardOutput.ReadToEndAsync(stop);
        await process.WaitForExitAsync(stop);
        Assert.True(process.ExitCode == 0, said);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
