using System.Security.Cryptography;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Tests.Loading;

/// <summary>Models in the stores of other programs, which are only read.</summary>
public sealed class ModelLocationTests : IDisposable
{
    private const string Commit = "0123456789abcdef0123456789abcdef01234567";

    private static readonly string s_stories = Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");
    private readonly TemporaryFolder _folder = new();

    private HubCache Cache => new(_folder.Root);

    private string Snapshot => _folder["models--org--tales", "snapshots", Commit];

    [Theory]
    [InlineData("org/name", "org/name", null, null)]
    [InlineData("org/name@v1.0", "org/name", "v1.0", null)]
    [InlineData("org/name@refs/pr/1", "org/name", "refs/pr/1", null)]
    [InlineData("org/Name-7B_x.1:Q4_K_M", "org/Name-7B_x.1", null, "Q4_K_M")]
    [InlineData("org/name@main:sub/a.gguf", "org/name", "main", "sub/a.gguf")]
    public void Names_of_the_Hub_are_read(string text, string repository, string? revision, string? part)
    {
        Assert.Equal(new HubName(repository, revision, part), HubName.Parse(text));
        Assert.Equal(text, HubName.Parse(text)!.ToString());
    }

    [Theory]
    [InlineData("name")]
    [InlineData("./models/name")]
    [InlineData("../models")]
    [InlineData("a/b/c")]
    [InlineData("/org/name")]
    [InlineData("org/../name")]
    [InlineData("org/name@../../x")]
    [InlineData("org/name@/x")]
    [InlineData("models/file.gguf")]
    [InlineData("C:/models")]
    [InlineData("a--b/c")]
    public void Paths_are_no_names_of_the_Hub(string text) => Assert.Null(HubName.Parse(text));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Model_in_the_cache_is_found_by_branch_and_commit_as_links_and_as_copies(bool isCopied)
    {
        WriteSnapshot(isCopied);
        WriteRef("main", Commit);
        WriteRef("refs/pr/1", Commit);
        foreach (var name in new[] { "org/tales", "org/tales@main", "org/tales@refs/pr/1", "org/tales@" + Commit })
            Assert.Equal((Snapshot, Commit), Cache.FindModel(HubName.Parse(name)!));
        using var model = LoadedModel.Open(Snapshot);
        Assert.NotNull(model.Tokenizer);
        Assert.NotEmpty(model.Files.Tensors);
    }

    [Fact]
    public void Model_that_is_not_there_says_how_to_get_it()
    {
        AssertRefused("org/other", "longlora pull org/other");
        WriteSnapshot(isCopied: true);
        WriteRef("main", Commit);
        AssertRefused("org/tales@v2", "not its revision 'v2' (it has main, " + Commit, "longlora pull org/tales@v2");
        WriteRef("main", Commit[..^1] + "0"); // a branch whose files never came
        AssertRefused("org/tales", "not its revision 'main'", "longlora pull org/tales");
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    public void Interrupted_download_is_no_model(string missing)
    {
        WriteSnapshot(isCopied: true);
        WriteRef("main", Commit);
        File.Delete(Path.Combine(Snapshot, missing));
        AssertRefused("org/tales", $"{missing} is missing", "longlora pull org/tales");
    }

    [Theory]
    [InlineData("tokenizer.model", "tokenizer.json is missing")]
    [InlineData("tokenizer_config.json", "tokenizer_config.json is missing")]
    public void Model_without_its_tokenizer_is_refused_where_a_download_was_begun(string missing, string told)
    {
        WriteSnapshot(isCopied: true);
        WriteRef("main", Commit);
        File.Delete(Path.Combine(Snapshot, missing));
        Assert.Equal(Snapshot, Cache.FindModel(HubName.Parse("org/tales")!).Path); // it may have none
        Directory.CreateDirectory(_folder["models--org--tales", "blobs"]);
        File.WriteAllText(_folder["models--org--tales", "blobs", "abc.incomplete"], "");
        AssertRefused("org/tales", told);
    }

    [Fact]
    public void Link_to_a_blob_that_is_gone_counts_as_missing()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right on Windows");
        WriteSnapshot(isCopied: false);
        WriteRef("main", Commit);
        File.Delete(new FileInfo(Path.Combine(Snapshot, "model.safetensors")).ResolveLinkTarget(true)!.FullName);
        AssertRefused("org/tales", "model.safetensors is missing");
    }

    [Fact]
    public void Shard_that_is_missing_is_named()
    {
        WriteSnapshot(isCopied: true);
        WriteRef("main", Commit);
        File.Move(Path.Combine(Snapshot, "model.safetensors"), Path.Combine(Snapshot, "model-00001-of-00002.safetensors"));
        File.WriteAllText(
            Path.Combine(Snapshot, "model.safetensors.index.json"),
            """{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"""
        );
        AssertRefused("org/tales", "model-00002-of-00002.safetensors is missing");
    }

    [Fact]
    public void Gguf_file_in_the_cache_is_found_and_one_of_several_must_be_named()
    {
        var snapshot = Directory.CreateDirectory(_folder["models--org--quants", "snapshots", Commit]).FullName;
        Directory.CreateDirectory(_folder["models--org--quants", "refs"]);
        File.WriteAllText(_folder["models--org--quants", "refs", "main"], Commit);
        var only = Path.Combine(snapshot, "a-Q4_K.gguf");
        File.WriteAllText(only, "");
        Assert.Equal(only, Cache.FindModel(HubName.Parse("org/quants")!).Path);
        File.WriteAllText(Path.Combine(snapshot, "a-Q4_K_M.gguf"), "");
        AssertRefused("org/quants", "several GGUF models: a-Q4_K.gguf, a-Q4_K_M.gguf", "ORG/NAME:Q4_K");
        Assert.Equal(only, Cache.FindModel(HubName.Parse("org/quants:q4_k")!).Path);
        Assert.Equal(only, Cache.FindModel(HubName.Parse("org/quants:a-Q4_K.gguf")!).Path);
        AssertRefused("org/quants:Q8_0", "no .gguf file 'Q8_0'");
    }

    [Fact]
    public void Folder_with_one_gguf_file_is_that_model()
    {
        var file = _folder.Text("model-00001-of-00002.gguf", "");
        _folder.Text("model-00002-of-00002.gguf", "");
        _folder.Text("mmproj-model.gguf", "");
        Assert.Equal(file, ModelLocation.Find(_folder.Root).Path);
        _folder.Text("other.gguf", "");
        Assert.Contains(
            "several GGUF models",
            Assert.Throws<CheckpointException>(() => ModelLocation.Find(_folder.Root)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Path_that_exists_comes_before_a_name()
    {
        Assert.Equal(new ModelLocation(s_stories, null, s_stories, s_stories), ModelLocation.Find(s_stories));
        Assert.Equal("no-such-model", ModelLocation.Find("no-such-model").Path); // told when it is opened
    }

    [Theory]
    [InlineData("tales", "registry.ollama.ai/library/tales/latest")]
    [InlineData("tales:1b", "registry.ollama.ai/library/tales/1b")]
    [InlineData("ada/tales:1b", "registry.ollama.ai/ada/tales/1b")]
    [InlineData("hf.co/org/tales:Q4_K_M", "hf.co/org/tales/Q4_K_M")]
    [InlineData("localhost:5000/org/tales", "localhost:5000/org/tales/latest")]
    public void Model_in_Ollamas_store_is_found(string name, string manifest)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() && manifest.Contains(':', StringComparison.Ordinal), "no such file name on Windows");
        var blob = WriteOllama(manifest);
        Assert.Equal(blob, new OllamaStore([_folder["nowhere"], _folder.Root]).Find(name));
    }

    [Fact]
    public void Model_that_Ollama_does_not_have_whole_is_refused()
    {
        var blob = WriteOllama("registry.ollama.ai/library/tales/1b");
        var store = new OllamaStore([_folder.Root]);
        void Refused(string name, string told) =>
            Assert.Contains(told, Assert.Throws<CheckpointException>(() => store.Find(name)).Message, StringComparison.Ordinal);
        Refused("tale:1b", "Did you mean 'tales:1b'? Get it with: ollama pull tale:1b");
        Refused("../tales", "is not a name of Ollama's");
        File.AppendAllText(blob, "more");
        Refused("tales:1b", "is not whole");
        File.Delete(blob);
        Refused("tales:1b", "has 0 of 4 bytes");
        WriteOllama(
            "registry.ollama.ai/library/tales/1b",
            """, {"mediaType": "application/vnd.ollama.image.adapter", "digest": "sha256:0", "size": 1}"""
        );
        Refused("tales:1b", "with an adapter");
        File.WriteAllText(_folder["manifests", "registry.ollama.ai", "library", "tales", "1b"], "{");
        Refused("tales:1b", "is damaged");
    }

    [Fact]
    public void Data_set_that_is_nowhere_says_how_to_get_it() =>
        Assert.Contains(
            "longlora pull org/no-such-data --dataset",
            Assert.Throws<DataException>(() => DataFiles.Locate("org/no-such-data")).Message,
            StringComparison.Ordinal
        );

    public void Dispose() => _folder.Dispose();

    private void AssertRefused(string name, params string[] told)
    {
        var message = Assert.Throws<CheckpointException>(() => Cache.FindModel(HubName.Parse(name)!)).Message;
        Assert.All(told, text => Assert.Contains(text, message, StringComparison.Ordinal));
    }

    private void WriteSnapshot(bool isCopied)
    {
        Directory.CreateDirectory(Snapshot);
        var blobs = Directory.CreateDirectory(_folder["models--org--tales", "blobs"]).FullName;
        foreach (var file in Directory.EnumerateFiles(s_stories))
        {
            var path = Path.Combine(Snapshot, Path.GetFileName(file));
            if (isCopied)
            {
                File.Copy(file, path);
                continue;
            }
            var blob = Path.Combine(blobs, Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file))));
            File.Copy(file, blob);
            File.CreateSymbolicLink(path, Path.Combine("..", "..", "blobs", Path.GetFileName(blob)));
        }
    }

    private void WriteRef(string name, string commit)
    {
        var path = _folder[["models--org--tales", "refs", .. name.Split('/')]];
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, commit);
    }

    private string WriteOllama(string manifest, string layers = "")
    {
        var digest = Convert.ToHexStringLower(SHA256.HashData("GGUF"u8));
        var path = _folder[["manifests", .. manifest.Split('/')]];
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        Directory.CreateDirectory(_folder["blobs"]);
        File.WriteAllText(
            path,
            $$"""
            {"schemaVersion": 2, "config": {"digest": "sha256:1"}, "layers": [
              {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:{{digest}}", "size": 4},
              {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:2", "size": 9}{{layers}}]}
            """
        );
        File.WriteAllText(_folder["blobs", "sha256-" + digest], "GGUF");
        return _folder["blobs", "sha256-" + digest];
    }
}
