using LongLora.Checkpoints;
using LongLora.Runs;

namespace LongLora.Cli.Tests;

/// <summary>One command line run in this process, and a folder of its own for each test class.</summary>
public abstract class CliRun : IDisposable
{
    /// <summary>stories260K, a trained Llama of 260k parameters with 512 tokens of context.</summary>
    protected static string Stories { get; } = Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");

    protected string Folder { get; } = Directory.CreateTempSubdirectory("longlora-test-").FullName;

    protected string At(params string[] parts) => Path.Combine([Folder, .. parts]);

    protected static (int Code, string Output, string Error) Run(params string[] args) => Run(default, args);

    protected static (int Code, string Output, string Error) Run(CancellationToken cancellation, params string[] args) =>
        RunWith("", cancellation, args);

    protected static (int Code, string Output, string Error) RunWith(string input, CancellationToken cancellation, params string[] args)
    {
        using StringWriter output = new(),
            error = new();
        using var interruption = new Interruption();
        using var stop = cancellation.Register(() => interruption.Signal());
        var code = CliApplication.Run(args, new StringReader(input), output, error, interruption);
        return (code, output.ToString(), error.ToString());
    }

    protected static string Succeed(params string[] args)
    {
        var (code, output, error) = Run(args);
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        return output;
    }

    protected static void Fail(int expectedCode, string[] expected, params string[] args)
    {
        var (code, _, error) = Run(args);
        Assert.True(code == expectedCode, $"exit code {code}, not {expectedCode}: {error}");
        foreach (var text in expected)
            Assert.Contains(text, error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
    }

    /// <summary>Tokens that have some order in them, as uint16.</summary>
    protected string WriteTokens(string name, int count)
    {
        var bytes = new byte[2 * count];
        var state = 12345u;
        for (var i = 0; i < count; i++)
        {
            state = state * 1664525 + 1013904223;
            BitConverter.TryWriteBytes(bytes.AsSpan(2 * i), (ushort)(3 + (i % 17 == 0 ? state >> 24 : (uint)(i * i % 97))));
        }
        File.WriteAllBytes(At(name), bytes);
        return At(name);
    }

    /// <summary>A copy of stories260K without its tokenizer, with some tensors or config text changed.</summary>
    private protected string WriteModel(
        string name,
        Func<string, string>? config = null,
        Func<TensorToWrite, TensorToWrite?>? change = null,
        long? maxShardBytes = null
    )
    {
        using var origin = CheckpointDirectory.Open(Stories);
        Directory.CreateDirectory(At(name));
        File.WriteAllText(At(name, "config.json"), (config ?? (t => t))(origin.ConfigText));
        var tensors = origin
            .Tensors.Keys.Order(StringComparer.Ordinal)
            .Select(n => TensorToWrite.Of(n, origin.Open(n)))
            .Select(t => change is null ? t : change(t))
            .OfType<TensorToWrite>()
            .ToList();
        SafetensorsWriter.WriteModel(At(name), tensors, maxShardBytes ?? long.MaxValue);
        return At(name);
    }

    /// <summary>A new model of one layer with the tokenizer of stories260K: for tests that do not care what a model says.</summary>
    protected string WriteOneLayer(string name)
    {
        var config = File.ReadAllText(Path.Combine(Stories, "config.json"));
        var file = At(name + ".json");
        File.WriteAllText(file, config.Replace("\"num_hidden_layers\": 5", "\"num_hidden_layers\": 1", StringComparison.Ordinal));
        NewModel.Write(At(name), file, Stories, 512, 1);
        return At(name);
    }

    public void Dispose()
    {
        Directory.Delete(Folder, recursive: true);
        GC.SuppressFinalize(this);
    }
}
