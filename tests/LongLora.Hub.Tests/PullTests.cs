using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Hub.Tests;

/// <summary>What is fetched, and how it lies in the cache.</summary>
public sealed class PullTests : HubPullTest
{
    private static readonly string[] s_needed = ["LICENSE", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

    [Fact]
    public async Task Pull_of_a_model_gets_what_is_needed_in_the_layout_that_all_share()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        var result = await PullAsync(Options with { Token = "secret" });
        AssertWhole(commit, s_needed);
        Assert.Equal(commit, result.Commit);
        Assert.Equal(s_needed, result.Files);
        Assert.Equal(result.AllBytes, result.FetchedBytes);
        Assert.Equal(commit, await File.ReadAllTextAsync(Main, Stop));
        var weights = FakeHub.Hash("model.safetensors", MakeFiles()["model.safetensors"]);
        Assert.True(File.Exists(Path.Combine(Cache, ".locks", "models--org--model", weights + ".lock")));
        if (!OperatingSystem.IsWindows())
            Assert.Equal(
                Path.Combine("..", "..", "blobs", weights),
                new FileInfo(Path.Combine(result.Folder, "model.safetensors")).LinkTarget
            );
        // The token goes to the hub alone, and each range was asked for once.
        Assert.All(Hub.Requests, r => Assert.Equal(r.Address.Host == "localhost", r.HasToken));
        Assert.Equal(
            ["bytes=0-999", "bytes=1000-1999", "bytes=2000-2999", "bytes=3000-3999", "bytes=4000-4499"],
            Hub.Requests.Where(r => r.Address.Host != "localhost").Select(r => r.Range!).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public async Task Pull_of_what_is_there_checks_it_and_fetches_nothing()
    {
        var commit = Hub.Commit(Repository, MakeFiles());
        await PullAsync();
        var again = await PullAsync();
        Assert.Equal(0, again.FetchedBytes);
        AssertWhole(commit, s_needed);
    }

    [Fact]
    public async Task Pulled_model_is_found_by_its_name()
    {
        var stories = Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");
        Hub.Commit(Repository, Directory.EnumerateFiles(stories).ToDictionary(f => Path.GetFileName(f), File.ReadAllBytes));
        var result = await PullAsync(Options with { RangeBytes = 100_000 });
        var (path, commit) = new HubCache(Cache).FindModel(HubName.Parse(Name)!);
        Assert.Equal((result.Folder, result.Commit), (path, commit));
        using var model = LoadedModel.Open(path); // through links
        Assert.NotNull(model.Tokenizer);
    }

    [Fact]
    public async Task Branch_that_moved_is_followed_and_the_earlier_commit_stays()
    {
        var first = Hub.Commit(Repository, MakeFiles());
        await PullAsync();
        var second = Hub.Commit(Repository, MakeFiles(seed: 9));
        await PullAsync();
        AssertWhole(first, s_needed);
        AssertWhole(second, s_needed);
        Assert.Equal(second, await File.ReadAllTextAsync(Main, Stop));
        Assert.Equal(second, new HubCache(Cache).FindModel(HubName.Parse(Name)!).Commit);
        Assert.Equal(first, new HubCache(Cache).FindModel(HubName.Parse($"{Name}@{first}")!).Commit);
    }

    [Fact]
    public async Task Revision_may_be_a_branch_with_a_slash_or_a_commit()
    {
        var main = Hub.Commit(Repository, MakeFiles());
        var other = Hub.Commit(Repository, MakeFiles(seed: 5), "refs/pr/1");
        Assert.Equal(other, (await PullAsync(Options with { Name = Name + "@refs/pr/1" })).Commit);
        Assert.Equal(other, await File.ReadAllTextAsync(Path.Combine(Model, "refs", "refs", "pr", "1"), Stop));
        Assert.False(File.Exists(Main));
        Assert.Equal(main, (await PullAsync(Options with { Name = $"{Name}@{main}" })).Commit);
        Assert.False(File.Exists(Main)); // a commit is nobody's branch
    }

    [Fact]
    public async Task Shards_are_those_of_the_index()
    {
        var files = MakeFiles();
        files.Remove("model.safetensors");
        files["model.safetensors.index.json"] = Text(
            """{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"""
        );
        files["model-00001-of-00002.safetensors"] = MakeBytes(7, 1500);
        files["model-00002-of-00002.safetensors"] = MakeBytes(8, 10);
        files["consolidated.safetensors"] = MakeBytes(9, 1510);
        var commit = Hub.Commit(Repository, files);
        await PullAsync();
        AssertWhole(
            commit,
            [
                .. s_needed.Where(f => f != "model.safetensors"),
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ]
        );
        files.Remove("model-00002-of-00002.safetensors");
        Hub.Commit(Repository, files);
        var refused = await Assert.ThrowsAsync<CheckpointException>(() => PullAsync());
        Assert.Contains("its index lists model-00002-of-00002.safetensors", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Weights_of_PyTorch_are_taken_where_there_are_no_others()
    {
        var files = MakeFiles();
        files.Remove("model.safetensors");
        var commit = Hub.Commit(Repository, files);
        await PullAsync();
        AssertWhole(commit, [.. s_needed.Where(f => f != "model.safetensors"), "pytorch_model.bin"]);
    }

    [Theory]
    [InlineData("model.Q4_K_M.gguf", "model.Q4_K_M.gguf")]
    [InlineData("q4_k_m", "model.Q4_K_M.gguf")]
    [InlineData("Q4_K", "model.Q4_K.gguf")]
    [InlineData("F16", "big/model-F16-00001-of-00002.gguf big/model-F16-00002-of-00002.gguf")]
    [InlineData(
        "*.gguf",
        "big/model-F16-00001-of-00002.gguf big/model-F16-00002-of-00002.gguf mmproj-F16.gguf model.Q4_K.gguf model.Q4_K_M.gguf"
    )]
    public async Task One_quantization_of_many_is_fetched_alone(string wanted, string expected)
    {
        var commit = Hub.Commit(Repository, MakeGgufFiles());
        await PullAsync(Options with { Files = [wanted] });
        AssertWhole(commit, expected.Split(' '));
    }

    [Fact]
    public async Task Name_with_a_quantization_is_that_file_and_is_found_again()
    {
        Hub.Commit(Repository, MakeGgufFiles());
        var result = await PullAsync(Options with { Name = Name + ":Q4_K_M" });
        Assert.Equal(["model.Q4_K_M.gguf"], result.Files);
        Assert.EndsWith("model.Q4_K_M.gguf", new HubCache(Cache).FindModel(HubName.Parse(Name)!).Path, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Which_of_several_quantizations_is_asked()
    {
        Hub.Commit(Repository, MakeGgufFiles());
        var refused = await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync());
        Assert.Contains(
            "--file: model.Q4_K.gguf, model.Q4_K_M.gguf, big/model-F16-00001-of-00002.gguf",
            refused.Message,
            StringComparison.Ordinal
        );
        refused = await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync(Options with { Files = ["Q9"] }));
        Assert.Contains("has no file 'Q9'", refused.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(Model, "snapshots")));
    }

    [Fact]
    public async Task Repository_without_a_model_that_is_read_is_refused_by_what_it_has()
    {
        Hub.Commit(Repository, new Dictionary<string, byte[]> { ["config.json"] = Text("{}"), ["tf_model.h5"] = [1] });
        var refused = await Assert.ThrowsAsync<ConfigurationException>(() => PullAsync());
        Assert.Contains("tf_model.h5", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Data_set_has_its_own_place_and_its_data_files()
    {
        Hub.Commit(
            "datasets/" + Name,
            new Dictionary<string, byte[]>
            {
                ["README.md"] = Text("about"),
                ["data/train.parquet"] = MakeBytes(3, 2500),
                ["notes.jsonl"] = Text("{}"),
                ["load.py"] = Text("never"),
            }
        );
        var result = await PullAsync(Options with { IsDataset = true });
        Assert.Equal(["data/train.parquet", "notes.jsonl"], result.Files);
        Assert.Equal(result.Folder, new HubCache(Cache).FindDataset(HubName.Parse(Name, isDataset: true)!));
        Assert.StartsWith(Path.Combine(Cache, "datasets--org--model", "snapshots"), result.Folder, StringComparison.Ordinal);
    }

    private static Dictionary<string, byte[]> MakeGgufFiles() =>
        new()
        {
            ["README.md"] = Text("about"),
            ["model.Q4_K.gguf"] = MakeBytes(1, 2100),
            ["model.Q4_K_M.gguf"] = MakeBytes(2, 2200),
            ["mmproj-F16.gguf"] = MakeBytes(3, 100),
            ["big/model-F16-00001-of-00002.gguf"] = MakeBytes(4, 1200),
            ["big/model-F16-00002-of-00002.gguf"] = MakeBytes(5, 1100),
        };
}
