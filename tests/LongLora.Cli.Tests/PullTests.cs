using LongLora.Hub.Tests;

namespace LongLora.Cli.Tests;

/// <summary>A model by its name: fetched from a hub, found by every verb, and named in what a run leaves.</summary>
public sealed class PullTests : CliRun, IAsyncLifetime
{
    private const string Name = "org/tales";

    private FakeHub _hub = null!;

    public async ValueTask InitializeAsync()
    {
        _hub = await FakeHub.StartAsync();
        Environment.SetEnvironmentVariable("HF_ENDPOINT", _hub.Address.AbsoluteUri);
        Environment.SetEnvironmentVariable("HF_HUB_CACHE", At("cache"));
        Environment.SetEnvironmentVariable("HF_HOME", At("home"));
        _hub.Commit("models/" + Name, Directory.EnumerateFiles(Stories).ToDictionary(f => Path.GetFileName(f), File.ReadAllBytes));
    }

    [Fact]
    public void Pull_brings_a_model_that_every_verb_finds_by_its_name()
    {
        Fail(ExitCode.Input, ["'org/tales'", "longlora pull org/tales"], "inspect", Name);
        Fail(ExitCode.Usage, ["the network is forbidden"], "pull", Name, "--offline");
        Assert.Empty(_hub.Requests);

        var commit = _hub.Branches["main"];
        var told = Succeed("pull", Name);
        Assert.Contains($"hashes checked; commit {commit[..12]}", told, StringComparison.Ordinal);
        Assert.Contains($"Folder: {At("cache", "models--org--tales", "snapshots", commit)}", told, StringComparison.Ordinal);
        Assert.Contains("100 %", told, StringComparison.Ordinal);
        Assert.Contains("--model org/tales", told, StringComparison.Ordinal);
        var requests = _hub.Requests.Count;

        Assert.Contains("Hugging Face model: " + At("cache"), Succeed("inspect", Name), StringComparison.Ordinal);
        Assert.Contains("context", Succeed("plan", "--model", Name, "--context", "1024"), StringComparison.Ordinal);
        var data = WriteTokens("data.bin", 6000);
        Succeed("evaluate", "perplexity", "--model", Name, "--data", data, "--lengths", "256", "--max-tokens", "1024");
        Succeed("train", "--model", Name, "--data", data, "--context", "1024", "--steps", "1", "--output", At("run"));
        // A branch may move on; what the run was made of stays known.
        Assert.Contains($"model: {Name}@{commit}", File.ReadAllText(At("run", "recipe.yaml")), StringComparison.Ordinal);
        Assert.Contains(
            $"\"base_model_name_or_path\": \"{Name}\"",
            File.ReadAllText(At("run", "adapter", "adapter_config.json")),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "Adapter: " + At("split", "adapter"),
            Succeed("export", "split", "--model", Name, "--adapter", At("run", "adapter"), "--output", At("split"), "--gguf", "q8_0"),
            StringComparison.Ordinal
        );
        Assert.Contains("FROM ./base.gguf\nADAPTER ./adapter.gguf\n", File.ReadAllText(At("split", "Modelfile")), StringComparison.Ordinal);
        Succeed("merge", "--model", $"{Name}@{commit}", "--adapter", At("run", "adapter"), "--output", At("merged"));
        Assert.Equal(requests, _hub.Requests.Count); // no verb but pull asks the network
    }

    [Fact]
    public void Data_set_is_trained_on_by_its_name()
    {
        _hub.Commit(
            "datasets/org/texts",
            new Dictionary<string, byte[]>
            {
                ["README.md"] = "About."u8.ToArray(),
                ["a.txt"] = System.Text.Encoding.UTF8.GetBytes(
                    string.Join(' ', Enumerable.Repeat("Once upon a time there was a cat.", 300))
                ),
            }
        );
        var model = WriteOneLayer("one");
        string[] train = ["train", "--model", model, "--data", "org/texts", "--context", "1024", "--steps", "1", "--output", At("run")];
        Fail(ExitCode.Input, ["longlora pull org/texts --dataset"], train);
        Assert.Contains("1 file,", Succeed("pull", "org/texts", "--dataset"), StringComparison.Ordinal);
        Succeed(train);
    }

    [Fact]
    public void Failures_have_the_exit_codes_of_their_kind()
    {
        Fail(ExitCode.Usage, ["is not a name of the Hub"], "pull", "tales");
        Fail(ExitCode.Usage, ["no model 'org/other' that you may see"], "pull", "org/other");
        Fail(ExitCode.Usage, ["has no revision 'v9'"], "pull", Name + "@v9");
        _hub.Refuse = context => FakeHub.Answer(context, 429, null, ("Retry-After", "600"));
        Fail(ExitCode.Input, ["too many requests", "in 10 min"], "pull", Name);
    }

    async ValueTask IAsyncDisposable.DisposeAsync()
    {
        foreach (var name in new[] { "HF_ENDPOINT", "HF_HUB_CACHE", "HF_HOME" })
            Environment.SetEnvironmentVariable(name, null);
        await _hub.DisposeAsync();
        Dispose();
    }
}
