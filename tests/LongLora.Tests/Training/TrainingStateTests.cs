using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Layers;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public sealed class TrainingStateTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Restore_gives_back_what_was_saved_with_or_without_a_count_of_tokens()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions()) { Steps = 7 };
        optimizer.FirstMoment.fill_(0.5);
        var values = parameters.Values.clone();
        var place = new BatchSamplerState(2, 5, 1234);
        new TrainingState(optimizer, parameters, place).Save(_folder.Root, "options");

        BatchSamplerState Restore()
        {
            (optimizer.Steps, _) = (0, parameters.Values.zero_());
            optimizer.FirstMoment.zero_();
            var restored = TrainingState.Restore(_folder.Root, optimizer, parameters, "options");
            Assert.Equal(7, optimizer.Steps);
            Assert.True(values.equal(parameters.Values).all().item<bool>());
            Assert.Equal(0.5f, optimizer.FirstMoment.min().item<float>());
            return restored;
        }
        Assert.Equal(place, Restore());

        // As the first version wrote it.
        var file = _folder["training_state.safetensors"];
        using (var reader = new SafetensorsReader(file))
        {
            TensorToWrite[] tensors = [.. reader.Tensors.Keys.Select(name => TensorToWrite.Of(name, reader.Open(name).clone()))];
            SafetensorsWriter.Write(_folder["old"], tensors, reader.Metadata.Where(m => m.Key != "tokens").ToDictionary());
        }
        File.Move(_folder["old"], file, overwrite: true);
        Assert.Contains("does not match", Assert.Throws<CheckpointException>(() => Restore()).Message, StringComparison.Ordinal);
        File.Delete(_folder[Checksums.FileName]);
        Assert.Equal(place with { Tokens = 0 }, Restore());
        Assert.Contains(
            "other options",
            Assert.Throws<ConfigurationException>(() => TrainingState.Restore(_folder.Root, optimizer, parameters, "others")).Message
        );
    }

    [Fact]
    public void Save_of_what_is_not_finite_is_refused_and_writes_nothing()
    {
        using var scope = NewDisposeScope();
        using var parameters = new ParameterBuffer([new Weight("w", ones(2, 3))]);
        using var optimizer = new AdamW(parameters, new AdamWOptions()) { Steps = 2 };
        foreach (var tensor in new[] { parameters.Values.detach(), optimizer.FirstMoment, optimizer.SecondMoment })
        {
            tensor[3] = float.PositiveInfinity;
            var error = Assert.Throws<DataException>(() => new TrainingState(optimizer, parameters, default).Save(_folder.Root, "x"));
            Assert.Contains("step 2 because 1 of its 18 numbers", error.Message, StringComparison.Ordinal);
            tensor[3] = 1;
        }
        Assert.Empty(Directory.GetFileSystemEntries(_folder.Root));
        new TrainingState(optimizer, parameters, default).Save(_folder.Root, "x");
    }

    [Fact]
    public void Open_of_an_earlier_state_without_checksums_finds_what_cannot_be()
    {
        using var scope = NewDisposeScope();
        using var parameters = new ParameterBuffer([new Weight("w", ones(2, 3))]);
        using var optimizer = new AdamW(parameters, new AdamWOptions()) { Steps = 2 };
        void Refused(string what, Action<Dictionary<string, Tensor>, Dictionary<string, string>> damage)
        {
            new TrainingState(optimizer, parameters, default).Save(_folder.Root, "x");
            Dictionary<string, Tensor> tensors;
            Dictionary<string, string> metadata;
            using (var reader = new SafetensorsReader(_folder["training_state.safetensors"]))
            {
                tensors = reader.Tensors.Keys.ToDictionary(name => name, name => reader.Open(name).clone());
                metadata = reader.Metadata.ToDictionary();
            }
            damage(tensors, metadata);
            SafetensorsWriter.Write(
                _folder["training_state.safetensors"],
                [.. tensors.Select(t => TensorToWrite.Of(t.Key, t.Value))],
                metadata
            );
            File.Delete(_folder[Checksums.FileName]);
            var error = Assert.Throws<CheckpointException>(() => SavedTrainingState.Open(_folder.Root));
            Assert.Contains(what, error.Message, StringComparison.Ordinal);
        }
        Refused("'first_moment'", (t, _) => t.Remove("first_moment"));
        Refused("'values'", (t, _) => t["values"] = ones(6, dtype: ScalarType.Float64));
        Refused("NaN at element 4", (t, _) => t["values"][4] = float.NaN);
        Refused("negative", (t, _) => t["second_moment"][4] = -1);
        Refused("'index' is '-3'", (_, m) => m["index"] = "-3");
        Refused("'step' is '4x'", (_, m) => m["step"] = "4x");
        Refused("has no 'fingerprint'", (_, m) => m.Remove("fingerprint"));
        SafetensorsWriter.Write(_folder["training_state.safetensors"], [TensorToWrite.Of("values", ones(6))]);
        Assert.Throws<CheckpointException>(() => SavedTrainingState.Open(_folder.Root));
    }
}
