using System.Text.RegularExpressions;

namespace LongLora.Tests.Architecture;

public partial class LayerRuleTests
{
    // The rooms of src/LongLora from the ground up: each uses only those before it.
    private static readonly string[] s_rooms =
    [
        "Runtime",
        "Distributed",
        "Configs",
        "Checkpoints",
        "Layers",
        "Quantization",
        "Positions",
        "Attention",
        "Models",
        "Adapters",
        "Tokenization",
        "Loading",
        "Data",
        "Training",
        "Generation",
        "Evaluation",
        "Export",
        "Options",
        "Runs",
    ];

    [GeneratedRegex(@"\b(?:using LongLora\.|LongLora\.|(?<![\w.])(?=(?:Runtime|Training|Evaluation|Export)\.[A-Z]))(?<room>[A-Z]\w+)")]
    private static partial Regex RoomUse();

    [Fact]
    public void Rooms_use_only_rooms_below_them()
    {
        var source = Source();
        Assert.SkipWhen(source is null, "the sources are not beside the tests");
        var wrong = new List<string>();
        foreach (var file in Directory.EnumerateFiles(source!, "*.cs", SearchOption.AllDirectories))
        {
            var room = Array.IndexOf(s_rooms, Path.GetRelativePath(source!, file).Split(Path.DirectorySeparatorChar)[0]);
            if (room < 0)
                continue;
            foreach (Match use in RoomUse().Matches(File.ReadAllText(file)))
            {
                if (Array.IndexOf(s_rooms, use.Groups["room"].Value) > room)
                    wrong.Add($"{Path.GetRelativePath(source!, file)} uses {use.Groups["room"].Value}");
            }
        }
        Assert.Empty(wrong.Distinct());
    }

    [Fact]
    public void Rooms_are_all_known()
    {
        var source = Source();
        Assert.SkipWhen(source is null, "the sources are not beside the tests");
        var folders = Directory.EnumerateDirectories(source!).Select(Path.GetFileName).Where(n => n is not ("bin" or "obj" or "build"));
        Assert.Empty(folders.Except(s_rooms));
    }

    private static string? Source()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LongLora.slnx")))
                return Path.Combine(folder.FullName, "src", "LongLora");
        }
        return null;
    }
}
