using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Data;
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
        Assert.Equal(place with { Tokens = 0 }, Restore());
        Assert.Contains(
            "other options",
            Assert.Throws<ConfigurationException>(() => TrainingState.Restore(_folder.Root, optimizer, parameters, "others")).Message
        );
    }
}
