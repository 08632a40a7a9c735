using System.Reflection;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub.Tests;

/// <summary>What is read from the environment, by the rules of Hugging Face's programs.</summary>
public sealed class EnvironmentTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    [Theory]
    [InlineData("HF_HUB_CACHE=/a HF_HOME=/b", "/a")]
    [InlineData("HUGGINGFACE_HUB_CACHE=/c HF_HOME=/b", "/c")]
    [InlineData("HF_HOME=/b XDG_CACHE_HOME=/d", "/b/hub")]
    [InlineData("XDG_CACHE_HOME=/d", "/d/huggingface/hub")]
    [InlineData("HF_HOME=~/b", "~/b/hub")]
    [InlineData("HF_HOME=", "~/.cache/huggingface/hub")]
    public void Cache_is_where_Python_has_it(string variables, string expected) =>
        Assert.Equal(
            expected.Replace("~", Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), StringComparison.Ordinal),
            HubCache.FindRoot(Read(variables)).Replace('\\', '/')
        );

    [Theory]
    [InlineData("HF_TOKEN=one", "one")]
    [InlineData("HUGGING_FACE_HUB_TOKEN=two", "two")]
    [InlineData("HF_TOKEN=", "of-the-file")]
    [InlineData("HF_TOKEN=one HF_HUB_DISABLE_IMPLICIT_TOKEN=1", null)]
    public void Token_is_that_of_the_environment_or_of_a_login(string variables, string? expected)
    {
        File.WriteAllText(Path.Combine(_folder, "token"), "of-the-file\n");
        Assert.Equal(expected, HubToken.Find(Read($"{variables} HF_HOME={_folder}")));
    }

    [Theory]
    [InlineData("HF_HUB_OFFLINE=1", true)]
    [InlineData("HF_HUB_OFFLINE=yes", true)]
    [InlineData("TRANSFORMERS_OFFLINE=TRUE", true)]
    [InlineData("HF_HUB_OFFLINE=0", false)]
    [InlineData("X=1", false)]
    public void Network_is_forbidden_by_the_usual_switches(string variables, bool expected) =>
        Assert.Equal(expected, PullOptions.FromEnvironment("org/model", Read($"{variables} HF_HOME={_folder}")).IsOffline);

    [Fact]
    public void Endpoint_is_an_address_or_refused()
    {
        Assert.Equal(new Uri("https://hub.example"), PullOptions.FromEnvironment("a/b", Read("HF_ENDPOINT=https://hub.example")).Endpoint);
        Assert.Equal(new Uri("https://huggingface.co"), PullOptions.FromEnvironment("a/b", Read("X=1")).Endpoint);
        Assert.Throws<ConfigurationException>(() => PullOptions.FromEnvironment("a/b", Read("HF_ENDPOINT=hub.example")));
    }

    // Nothing else opens the network: the library does not even know how.
    [Fact]
    public void Library_has_no_part_that_opens_connections()
    {
        static IEnumerable<string> Needs(Assembly assembly) =>
            assembly.GetReferencedAssemblies().Select(a => a.Name!).Where(n => n.StartsWith("System.Net", StringComparison.Ordinal));
        Assert.Empty(Needs(typeof(LoadedModel).Assembly));
        Assert.NotEmpty(Needs(typeof(HubPull).Assembly));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private static Func<string, string?> Read(string variables)
    {
        var pairs = variables.Split(' ').Select(v => v.Split('=', 2)).ToDictionary(v => v[0], v => v[1]);
        return name => pairs.GetValueOrDefault(name);
    }
}
