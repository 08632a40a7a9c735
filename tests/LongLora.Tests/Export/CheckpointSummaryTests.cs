using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Runtime;

namespace LongLora.Tests.Export;

public class CheckpointSummaryTests
{
    [Fact]
    public void Read_model_folder_tells_family_parameters_context_and_companions()
    {
        var summary = CheckpointSummary.Read(SharedMaterial.Golden("stories260K-hf"));
        var facts = summary.Facts.ToDictionary(f => f.Name, f => f.Value);
        Assert.Equal("Hugging Face model", summary.Kind);
        Assert.Equal("llama", facts["family"]);
        Assert.Equal("260,032", facts["parameters"]);
        Assert.Equal("512 tokens", facts["context"]);
        Assert.Equal("1.0 MiB, F32", facts["size"]);
        Assert.Contains("tied", facts["vocabulary"], StringComparison.Ordinal);
        Assert.Contains("tokenizer.model", facts["other files"], StringComparison.Ordinal);
        Assert.Equal(47, summary.Tensors.Count);
    }

    [Fact]
    public void Read_checkpoint_with_metas_names_says_so()
    {
        using var folder = new TemporaryFolder();
        using var one = TorchSharp.torch.ones(1);
        SafetensorsWriter.WriteModel(
            folder.Root,
            [TensorToWrite.Of("tok_embeddings.weight", one), TensorToWrite.Of("output.weight", one)],
            long.MaxValue
        );
        Assert.Contains(CheckpointSummary.Read(folder["model.safetensors"]).Facts, f =>
            f.Name == "names" && f.Value.StartsWith("Meta's own", StringComparison.Ordinal)
        );
        File.Copy(Path.Combine(SharedMaterial.Golden("stories260K-hf"), "config.json"), folder["config.json"]);
        var message = Assert.Throws<CheckpointException>(() => CheckpointSummary.Read(folder.Root)).Message;
        Assert.Contains("which config.json requires. It has Meta's own names", message, StringComparison.Ordinal);
        Assert.Equal("It has 'a', 'b', 'c' and 1 more.", TensorNames.Advise(["d", "c", "b", "a"]));
    }

    [Fact]
    public void Read_rescaled_model_tells_the_scaling()
    {
        var facts = CheckpointSummary.Read(SharedMaterial.Golden("llama_tiny")).Facts.ToDictionary(f => f.Name, f => f.Value);
        Assert.Equal("theta 10000, linear x2 from 32 tokens", facts["RoPE"]);
        Assert.Equal("64 tokens", facts["context"]);
    }

    [Fact]
    public void Read_adapter_folder_tells_rank_targets_and_base()
    {
        var summary = CheckpointSummary.Read(SharedMaterial.Golden("llama_tiny_lora"));
        var facts = summary.Facts.ToDictionary(f => f.Name, f => f.Value);
        Assert.Equal("PEFT adapter", summary.Kind);
        Assert.Equal("../llama_tiny", facts["base"]);
        Assert.StartsWith("rank 8, alpha 16, on ", facts["LoRA"], StringComparison.Ordinal);
        Assert.Equal("the base model's", facts["context"]);
    }

    [Fact]
    public void Read_real_peft_adapter_of_another_family_is_described()
    {
        var facts = CheckpointSummary
            .Read(SharedMaterial.Shared("models", "adapter_gemma3_270m_qkvo"))
            .Facts.ToDictionary(f => f.Name, f => f.Value);
        Assert.StartsWith("rank 4, alpha 16, on ", facts["LoRA"], StringComparison.Ordinal);
        Assert.Equal("nothing", facts["fully trained"]);
    }

    [Fact]
    public void Read_single_file_tells_size_and_metadata()
    {
        var summary = CheckpointSummary.Read(SharedMaterial.Golden("stories260K-hf", "model.safetensors"));
        var facts = summary.Facts.ToDictionary(f => f.Name, f => f.Value);
        Assert.Equal("safetensors file", summary.Kind);
        Assert.Equal("47", facts["tensors"]);
        Assert.Equal("260,032", facts["elements"]);
        Assert.Equal("pt", facts["format"]);
    }

    [Fact]
    public void Read_damaged_places_are_refused()
    {
        using var folder = new TemporaryFolder();
        Assert.Throws<CheckpointException>(() => CheckpointSummary.Read(folder["no"]));
        Assert.Throws<CheckpointException>(() => CheckpointSummary.Read(folder.Text("text", "no weights at all")));
        File.Copy(SharedMaterial.Golden("llama_tiny_lora", "adapter_model.safetensors"), folder["adapter_model.safetensors"]);
        var config = folder.Text("adapter_config.json", "[");
        Assert.StartsWith(
            "Cannot read " + config,
            Assert.Throws<CheckpointException>(() => CheckpointSummary.Read(folder.Root)).Message,
            StringComparison.Ordinal
        );
    }
}
