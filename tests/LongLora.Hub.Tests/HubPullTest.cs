using System.Text;

namespace LongLora.Hub.Tests;

/// <summary>A hub with one model, and an empty cache.</summary>
public abstract class HubPullTest : IAsyncLifetime
{
    protected const string Name = "org/model";
    protected const string Repository = "models/" + Name;
    protected const int RangeBytes = 1000;

    private protected FakeHub Hub { get; private set; } = null!;

    protected string Cache { get; } = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    protected static CancellationToken Stop => TestContext.Current.CancellationToken;

    protected string Model => Path.Combine(Cache, "models--org--model");

    protected string Main => Path.Combine(Model, "refs", "main");

    public async ValueTask InitializeAsync() => Hub = await FakeHub.StartAsync();

    /// <summary>Files of a repository as people have them: more than is needed.</summary>
    protected static Dictionary<string, byte[]> MakeFiles(int seed = 1, int weights = 4500) =>
        new()
        {
            [".gitattributes"] = Text("*.safetensors filter=lfs"),
            ["README.md"] = Text("# A model"),
            ["LICENSE"] = Text("Apache-2.0"),
            ["config.json"] = Text($$"""{"model_type": "llama", "seed": {{seed}}}"""),
            ["tokenizer.json"] = Text("{}"),
            ["tokenizer_config.json"] = Text("{ }"),
            ["model.safetensors"] = MakeBytes(seed, weights),
            ["pytorch_model.bin"] = MakeBytes(seed + 1, weights),
            ["original/consolidated.00.pth"] = MakeBytes(seed + 2, 10),
            ["onnx/model.onnx"] = MakeBytes(seed + 3, 10),
            ["modeling_model.py"] = Text("print('never')"),
        };

    protected static byte[] Text(string text) => Encoding.UTF8.GetBytes(text);

    protected static byte[] MakeBytes(int seed, int count)
    {
        var bytes = new byte[count];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    private protected PullOptions Options =>
        new()
        {
            Name = Name,
            Endpoint = Hub.Address,
            Cache = Cache,
            RangeBytes = RangeBytes,
            FirstDelay = TimeSpan.FromMilliseconds(1),
            LongestDelay = TimeSpan.FromSeconds(2),
            Silence = TimeSpan.FromSeconds(20),
        };

    private protected Task<PullResult> PullAsync(PullOptions? options = null) => HubPull.RunAsync(options ?? Options, null, Stop);

    /// <summary>That the cache has these files of a commit, whole, and nothing that was begun.</summary>
    protected void AssertWhole(string commit, params string[] paths)
    {
        var snapshot = Path.Combine(Model, "snapshots", commit);
        Assert.Equal(
            paths.Order(StringComparer.Ordinal),
            Directory
                .EnumerateFiles(snapshot, "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(snapshot, f).Replace('\\', '/'))
                .Order(StringComparer.Ordinal)
        );
        foreach (var path in paths)
            Assert.Equal(Hub.Repositories[Repository][commit][path], File.ReadAllBytes(Path.Combine(snapshot, path)));
        Assert.All(Directory.GetFiles(Path.Combine(Model, "blobs")), f => Assert.True(HubFile.IsHash(Path.GetFileName(f)), f));
    }

    public async ValueTask DisposeAsync()
    {
        await Hub.DisposeAsync();
        Directory.Delete(Cache, recursive: true);
        GC.SuppressFinalize(this);
    }
}
