using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Checkpoints;

public class CheckpointDirectoryTests
{
    private static string Stories => SharedMaterial.Golden("stories260K-hf");

    [Fact]
    public void Open_real_checkpoint_gives_config_tensors_and_companions()
    {
        using var folder = CheckpointDirectory.Open(Stories);
        Assert.Equal(5, folder.Config.LayerCount);
        Assert.Equal(47, folder.Tensors.Count);
        Assert.Equal(folder.Tensors.Values.Sum(t => t.ByteCount), folder.DataBytes);
        using var embedding = folder.Open("model.embed_tokens.weight");
        Assert.Equal([512, 64], embedding.shape);
        Assert.Equal(
            ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "LICENSE"],
            folder.Companions.Select(Path.GetFileName)
        );
    }

    [Theory]
    [InlineData(100_000)]
    [InlineData(1)]
    public void WriteModel_shards_then_Open_gives_the_same_tensors(long maxShardBytes)
    {
        using var scope = NewDisposeScope();
        using var folder = Shards(maxShardBytes);
        using var whole = CheckpointDirectory.Open(Stories);
        using var shards = CheckpointDirectory.Open(folder.Root);
        Assert.Equal(whole.Tensors.Keys.Order(), shards.Tensors.Keys.Order());
        foreach (var name in whole.Tensors.Keys)
            Near.AssertEqual(whole.Open(name), shards.Open(name), 0, name);

        var index = JsonNode.Parse(File.ReadAllText(folder["model.safetensors.index.json"]))!;
        Assert.Equal(whole.DataBytes, (long)index["metadata"]!["total_size"]!);
        var names = index["weight_map"]!.AsObject().Select(p => p.Key).ToList();
        Assert.Equal(names.Order(StringComparer.Ordinal), names);
        Assert.Equal(whole.Tensors.Count, names.Count);
        var files = shards.WeightFiles.Select(Path.GetFileName).ToList();
        Assert.Equal(Enumerable.Range(1, files.Count).Select(i => $"model-{i:D5}-of-{files.Count:D5}.safetensors"), files);
        Assert.Equal(maxShardBytes == 1, files.Count == names.Count);
        foreach (var file in shards.WeightFiles.Select(SafetensorsHeader.Read))
            Assert.True(file.DataBytes <= maxShardBytes || file.Tensors.Count == 1);
    }

    [Fact]
    public void WriteModel_that_fits_makes_one_file_without_index()
    {
        using var folder = Shards(long.MaxValue);
        Assert.Equal(["config.json", "model.safetensors"], Directory.GetFiles(folder.Root).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void WriteModel_tensors_without_elements_need_no_file_of_their_own()
    {
        using var folder = new TemporaryFolder();
        using var nothing = empty(0);
        using var one = ones(1);
        SafetensorsWriter.WriteModel(
            folder.Root,
            [TensorToWrite.Of("a", nothing), TensorToWrite.Of("b", one), TensorToWrite.Of("c", nothing)],
            long.MaxValue
        );
        Assert.Equal(["b", "a", "c"], SafetensorsHeader.Read(folder["model.safetensors"]).Tensors.Keys.OrderBy(n => n != "b"));
        SafetensorsWriter.WriteModel(
            folder["two"],
            [TensorToWrite.Of("a", nothing), TensorToWrite.Of("b", one), TensorToWrite.Of("d", one)],
            4
        );
        Assert.Equal(
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            Directory.GetFiles(folder["two"]).Select(Path.GetFileName).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public void Open_headers_only_gives_no_tensor()
    {
        using var folder = CheckpointDirectory.Open(Stories, headersOnly: true);
        Assert.Equal(47, folder.Tensors.Count);
        Assert.Throws<ObjectDisposedException>(() => folder.Open("model.norm.weight"));
    }

    [Fact]
    public void Open_unknown_tensor_is_named()
    {
        using var folder = CheckpointDirectory.Open(Stories);
        Assert.Equal(
            $"'{Stories}' has no tensor 'model.norm.wight'. Did you mean 'model.norm.weight'?",
            Assert.Throws<CheckpointException>(() => folder.Open("model.norm.wight")).Message
        );
    }

    [Fact]
    public void Open_places_that_are_no_model_folder_say_what_is_needed()
    {
        using var folder = new TemporaryFolder();
        AssertRefused(
            folder["no"],
            "There is no model folder '",
            "Give the folder of a Hugging Face model with config.json and model.safetensors or pytorch_model.bin."
        );
        AssertRefused(folder.Text("file", ""), "is a file.");
        AssertRefused(folder.Root, "has no config.json.");
        folder.Text("params.json", "{}");
        AssertRefused(folder.Root, "Meta's own layout", "convert_llama_weights_to_hf.py");
        folder.Text("adapter_config.json", "{}");
        AssertRefused(folder.Root, "It is an adapter: give its base model as the model");
    }

    [Fact]
    public void Open_folder_without_weights_says_what_it_has_instead()
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(Stories, "config.json"), folder["config.json"]);
        AssertRefused(
            folder.Root,
            "has none of model.safetensors, model.safetensors.index.json, pytorch_model.bin and pytorch_model.bin.index.json. The "
                + "weights of the model are missing."
        );
        folder.Text("pytorch_model-00001-of-00002.bin", "");
        AssertRefused(folder.Root, "It has the shard pytorch_model-00001-of-00002.bin, but the index of the shards is missing.");
        folder.Text("model-00001-of-00002.safetensors", "");
        AssertRefused(folder.Root, "It has the shard model-00001-of-00002.safetensors, but the index of the shards is missing.");
    }

    [Fact]
    public void Open_missing_shard_is_named()
    {
        using var folder = Shards(400_000);
        File.Delete(folder["model-00002-of-00003.safetensors"]);
        AssertRefused(folder.Root, "lacks model-00002-of-00003.safetensors: 1 of the 3 shards that model.safetensors.index.json lists.");
    }

    [Fact]
    public void Open_truncated_shard_is_named()
    {
        using var folder = Shards(400_000);
        using (var shard = File.OpenWrite(folder["model-00003-of-00003.safetensors"]))
            shard.SetLength(shard.Length - 1);
        AssertRefused(folder.Root, folder["model-00003-of-00003.safetensors"] + ": the file is truncated");
    }

    [Fact]
    public void Open_index_and_shards_that_disagree_are_refused()
    {
        using var folder = Shards(400_000);
        EditMap(folder, map => map["model.extra.weight"] = "model-00001-of-00003.safetensors");
        AssertRefused(
            folder.Root,
            "model-00001-of-00003.safetensors does not have the tensor 'model.extra.weight' that model.safetensors.index.json lists for it."
        );
        EditMap(folder, map => map.Remove("model.extra.weight"));
        EditMap(folder, map => map.Remove("model.norm.weight"));
        AssertRefused(folder.Root, "has a tensor 'model.norm.weight' that model.safetensors.index.json does not list.");
    }

    [Fact]
    public void Open_tensor_in_two_shards_is_refused()
    {
        using var folder = Shards(400_000);
        using var more = ones(1);
        var path = folder["model-00001-of-00003.safetensors"];
        List<TensorToWrite> tensors;
        using (var reader = new SafetensorsReader(path))
            tensors = [.. reader.Tensors.Keys.Select(name => TensorToWrite.Of(name, reader.Open(name).clone()))];
        SafetensorsWriter.Write(path, [.. tensors, TensorToWrite.Of("model.norm.weight", more)]);
        AssertRefused(
            folder.Root,
            "has a tensor 'model.norm.weight' that model.safetensors.index.json lists for model-00003-of-00003.safetensors."
        );
    }

    [Fact]
    public void Open_two_sets_of_weights_are_refused()
    {
        using var folder = Shards(400_000);
        File.Copy(Path.Combine(Stories, "model.safetensors"), folder["model.safetensors"]);
        AssertRefused(folder.Root, "has model.safetensors and also model.safetensors.index.json, which lists other files");
    }

    // Left behind by another form of the model. transformers reads the whole file, too.
    [Theory]
    [InlineData("model.safetensors", "model.safetensors.index.json", 2)]
    [InlineData("model.safetensors", "model.safetensors.index.json", 3)]
    [InlineData("pytorch_model.bin", "pytorch_model.bin.index.json", 3)]
    [InlineData("pytorch_model.bin", "model.safetensors.index.json", 3)]
    public void Open_index_of_absent_shards_beside_a_whole_file_reads_that_file(string whole, string index, int absent)
    {
        using var folder = Shards(400_000);
        File.Move(folder["model.safetensors.index.json"], folder["index"]);
        File.Move(folder["index"], folder[index]);
        for (var i = 1; i <= absent; i++)
            File.Delete(folder[$"model-0000{i}-of-00003.safetensors"]);
        AssertRefused(folder.Root, "lacks model-00001-of-00003.safetensors");
        using var stories = CheckpointDirectory.Open(Stories);
        var tensors = stories.Tensors.Keys.Select(name => TensorToWrite.Of(name, stories.Open(name).clone())).ToList();
        if (whole == "model.safetensors")
            SafetensorsWriter.Write(folder[whole], tensors);
        else
            TorchPickleWriter.Write(folder[whole], tensors);
        using var read = CheckpointDirectory.Open(folder.Root);
        Assert.Equal([folder[whole]], read.WeightFiles);
        Assert.Equal(stories.Tensors.Keys.Order(), read.Tensors.Keys.Order());
    }

    [Theory]
    [InlineData("{", "is not valid JSON")]
    [InlineData("""{"weight_map":{}}""", "must contain a weight_map, an object that maps tensor names to file names.")]
    [InlineData(
        """{"weight_map":{"a":"../model.safetensors"}}""",
        "'a' is in \"../model.safetensors\", which is not the name of a file next to the index."
    )]
    [InlineData("""{"weight_map":{"a":"/etc/passwd"}}""", "which is not the name of a file next to the index.")]
    [InlineData("""{"weight_map":{"a":7}}""", "'a' is in 7, which is not the name")]
    [InlineData("""{"weight_map":{"a":"x","a":"y"}}""", "is not valid JSON")]
    public void Open_damaged_index_is_refused(string index, string message)
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(Stories, "config.json"), folder["config.json"]);
        folder.Text("model.safetensors.index.json", index);
        AssertRefused(folder.Root, folder["model.safetensors.index.json"], message);
    }

    private static TemporaryFolder Shards(long maxShardBytes)
    {
        var folder = new TemporaryFolder();
        using var whole = CheckpointDirectory.Open(Stories);
        File.Copy(Path.Combine(Stories, "config.json"), folder["config.json"]);
        SafetensorsWriter.WriteModel(
            folder.Root,
            [.. whole.Tensors.Values.Select(t => new TensorToWrite(t.Name, t.Type, t.Shape, () => whole.Open(t.Name)))],
            maxShardBytes
        );
        return folder;
    }

    private static void EditMap(TemporaryFolder folder, Action<JsonObject> edit)
    {
        var path = folder["model.safetensors.index.json"];
        var index = JsonNode.Parse(File.ReadAllText(path))!;
        edit(index["weight_map"]!.AsObject());
        File.WriteAllText(path, index.ToJsonString());
    }

    private static void AssertRefused(string path, params string[] parts)
    {
        var message = Assert.Throws<CheckpointException>(() => CheckpointDirectory.Open(path)).Message;
        foreach (var part in parts)
            Assert.Contains(part, message, StringComparison.Ordinal);
    }
}
