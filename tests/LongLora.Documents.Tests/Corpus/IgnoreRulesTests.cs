using LongLora.Documents.Corpus;

namespace LongLora.Documents.Tests.Corpus;

public class IgnoreRulesTests : TemporaryFolder
{
    [Theory]
    [InlineData("*.log", "a.log", false, true)]
    [InlineData("*.log", "a.logs", false, false)]
    [InlineData("/a.txt", "a.txt", false, true)]
    [InlineData("tmp/", "tmp", true, true)]
    [InlineData("tmp/", "tmp", false, false)]
    [InlineData("*.md\n!keep.md", "keep.md", false, false)]
    [InlineData("*.md\n!keep.md", "drop.md", false, true)]
    [InlineData("# a comment\n\n", "# a comment", false, false)]
    [InlineData("file[0-9].c", "file3.c", false, true)]
    [InlineData("file[!0-9].c", "file3.c", false, false)]
    [InlineData("a?c", "abc", false, true)]
    [InlineData("", ".hidden", false, true)]
    [InlineData("", "node_modules", true, true)]
    [InlineData("", "node_modules", false, false)]
    public void Ignores_follows_gitignore(string rules, string name, bool isFolder, bool expected)
    {
        Write(".gitignore", rules);
        Assert.Equal(expected, new IgnoreRules(Root).Ignores(name, isFolder));
    }

    [Theory]
    [InlineData("x.txt", true)]
    [InlineData("sub/x.txt", false)]
    [InlineData("deep/**/y.c", true)]
    [InlineData("**/b", true)]
    [InlineData("sub/inner", true)]
    public void Ignores_rules_of_folders_above_hold_below(string rule, bool expected)
    {
        Write(".gitignore", rule);
        Directory.CreateDirectory(At("sub", "other"));
        var below = new IgnoreRules(At("sub", "other"), new IgnoreRules(At("sub"), new IgnoreRules(Root)));
        var name = rule switch
        {
            "deep/**/y.c" => null,
            "**/b" => "b",
            "sub/inner" => null,
            _ => "x.txt",
        };
        if (name is not null)
            Assert.Equal(expected, below.Ignores(name, isFolder: false));
        else if (rule == "sub/inner")
            Assert.True(new IgnoreRules(At("sub"), new IgnoreRules(Root)).Ignores("inner", isFolder: true));
        else
        {
            Directory.CreateDirectory(At("deep", "z"));
            Assert.True(
                new IgnoreRules(At("deep", "z"), new IgnoreRules(At("deep"), new IgnoreRules(Root))).Ignores("y.c", isFolder: false)
            );
        }
    }

    [Fact]
    public void At_rules_above_hold_up_to_the_repository()
    {
        Write("repository/.gitignore", "made/\n/a/x.txt\n");
        Directory.CreateDirectory(At("repository", "a", "b"));
        Assert.False(IgnoreRules.ReadAt(At("repository", "a")).Ignores("made", isFolder: true));
        Directory.CreateDirectory(At("repository", ".git"));
        Assert.True(IgnoreRules.ReadAt(At("repository", "a")).Ignores("made", isFolder: true));
        Assert.True(IgnoreRules.ReadAt(At("repository", "a")).Ignores("x.txt", isFolder: false));
        Assert.False(IgnoreRules.ReadAt(At("repository", "a", "b")).Ignores("x.txt", isFolder: false));
    }
}
