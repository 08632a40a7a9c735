namespace LongLora.Tests.Architecture;

/// <summary>What would make two builds of one commit differ. <c>scripts/reliability/same-bytes.sh</c> builds twice and compares.</summary>
public class SameBytesTests
{
    // Microsoft's generator writes the classes of a project in another order from time to time (2 of 8 builds of the server).
    [Fact]
    public void No_project_has_two_classes_with_generated_log_messages() =>
        Assert.All(
            Repository
                .CSharpFiles("src")
                .Where(file => File.ReadAllText(Repository.At(file)).Contains("[LoggerMessage(", StringComparison.Ordinal))
                .GroupBy(file => file.Split('/')[1]),
            project => Assert.Single(project)
        );
}
