using LongLora.Options;

namespace LongLora.Tests.Options;

public class RecipeFileTests
{
    [Fact]
    public void Recipes_of_the_project_are_all_valid()
    {
        var folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "LongLora.slnx")))
            folder = Path.GetDirectoryName(folder);
        Assert.SkipWhen(folder is null, "the sources are not beside the tests");
        var files = Directory.GetFiles(Path.Combine(folder!, "recipes"), "*.yaml");
        Assert.NotEmpty(files);
        foreach (var file in files)
        {
            Assert.Equal(4, Path.GetFileNameWithoutExtension(file).Split('_').Length);
            Recipe.Parse("{model: m, data: [d], output: o}", "test", Recipe.ReadFile(file, FineTuneOptionTable.Defaults)).Validate();
        }
    }
}
