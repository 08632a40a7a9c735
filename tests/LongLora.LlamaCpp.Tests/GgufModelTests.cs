using System.Text.Json.Nodes;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.LlamaCpp.Tests;

// L tokens, V vocabulary

/// <summary>GGUF files of others read by both, and the quantized files that we write opened by llama.cpp.</summary>
public sealed class GgufModelTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<GgufFileType> Types => [.. Enum.GetValues<GgufFileType>()];

    private static string SmolLm => SharedMaterial.Shared("models", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf");

    private static Tensor Logits(CausalLanguageModel model, int[] ids)
    {
        using var positions = RotaryEmbedding.Create(model.Config, ids.Length);
        return model.ComputeLogits(tensor(ids, ScalarType.Int64).unsqueeze(0), new ForwardContext(new FullAttention(), positions))[0];
    }

    private static double Loss(Tensor logits, int[] ids) =>
        nn.functional.cross_entropy(logits[..^1].to(ScalarType.Float64), tensor(ids[1..], ScalarType.Int64)).item<double>();

    private string Exported(string gguf, GgufFileType type, out GgufReader written)
    {
        if (!Directory.Exists(_folder["model"]))
        {
            using var file = GgufModel.Open(gguf);
            GgufImporter.Write(_folder["model"], file);
        }
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(folder.Config, folder);
        var path = _folder[$"{type}.gguf"];
        written = GgufExporter.Write(path, model, folder, type);
        return path;
    }

    // llama.cpp rounds activations to 8 bits where the weights are quantized.
    [Theory]
    [MemberData(nameof(Types))]
    public void Every_type_that_is_written_opens_in_llama_cpp_and_computes_as_here(GgufFileType type)
    {
        using var scope = NewDisposeScope();
        var bytes = File.ReadAllBytes(SharedMaterial.Shared("goldens", "gguf", "tokens.bin"));
        int[] ids = [.. Enumerable.Range(0, bytes.Length / 2).Select(i => (int)BitConverter.ToUInt16(bytes, 2 * i))];
        var path = Exported(SharedMaterial.Shared("goldens", "gguf", "F32.gguf"), type, out var written);
        var most = type switch
        {
            GgufFileType.Q4_K_M => GgufType.Q4_K,
            GgufFileType.Q5_K_M => GgufType.Q5_K,
            _ => Enum.Parse<GgufType>(type.ToString()),
        };
        Assert.Equal(most, written.Tensors["blk.0.attn_q.weight"].Type);
        Assert.Equal((uint)type, written.Get<uint>("general.file_type"));
        using var file = GgufModel.Open(path);
        using var model = ModelLoader.Load(file.Config, file.Weights);
        using var engine = new Engine(path, 512);
        var (ours, theirs) = (Logits(model, ids), engine.Logits(ids));
        var (loss, theirLoss) = (Loss(ours, ids), Loss(theirs, ids));
        TestContext.Current.SendDiagnosticMessage(
            $"{type}: {new FileInfo(path).Length} bytes, loss {loss:F5}, in llama.cpp {theirLoss:F5}; logits off by at most "
                + $"{Near.Difference(ours, theirs):G3}"
        );
        var tolerance = type switch
        {
            GgufFileType.F32 => 1e-5,
            GgufFileType.F16 or GgufFileType.Bf16 => 5e-3,
            _ => 2e-2,
        };
        Assert.Equal(loss, theirLoss, tolerance);
        Assert.True(Near.Difference(ours, theirs) <= 0.05 * ours.abs().max().item<float>() + tolerance);
    }

    [Fact]
    public void Tokens_of_whole_books_are_those_of_llama_cpp()
    {
        using var file = GgufModel.Open(SmolLm);
        using var engine = new Engine(SmolLm, 64);
        var books = Directory.GetFiles(SharedMaterial.Shared("data", "books", "test"), "*.txt").Order().Take(5).ToList();
        Assert.Equal(5, books.Count);
        foreach (var book in books)
        {
            var text = File.ReadAllText(book);
            var (ours, theirs) = (file.Tokenizer!.Encode(text), engine.Tokens(text));
            Assert.True(ours.SequenceEqual(theirs), Path.GetFileName(book));
            TestContext.Current.SendDiagnosticMessage($"{Path.GetFileName(book)}: {ours.Count} tokens");
        }
    }

    [Fact]
    public void Tokens_of_strings_are_those_of_llama_cpp()
    {
        using var file = GgufModel.Open(SmolLm);
        using var engine = new Engine(SmolLm, 64);
        var texts = JsonNode
            .Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "smollm2", "tokens.json")))!
            .AsArray()
            .Select(t => (string)t!["text"]!)
            .ToList();
        texts.AddRange(
            File.ReadAllText(SharedMaterial.Shared("tokenizers", "vectors", "ggml-vocab-llama-bpe.gguf.inp"))
                .Split("\n__ggml_vocab_test__\n")
        );
        texts.AddRange(Directory.GetFiles(SharedMaterial.Shared("data", "proofs", "stacks")).Order().Take(2).Select(File.ReadAllText));
        foreach (var text in texts)
        {
            foreach (var (addSpecial, parseSpecial) in ((bool, bool)[])[(true, false), (false, true)])
                Assert.Equal(engine.Tokens(text, addSpecial, parseSpecial), file.Tokenizer!.Encode(text, addSpecial, parseSpecial));
        }
    }

    // What the warning at export says: llama.cpp knows no rule of SentencePiece BPE but the space before a text.
    [Fact]
    public void Tokens_of_a_file_with_rules_that_llama_cpp_does_not_follow_are_those_that_are_expected_of_it()
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
        using (var model = ModelLoader.Load(folder.Config, folder))
            GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F32);
        var vocabulary = GgufVocabulary.Read(GgufReader.Read(_folder["a.gguf"]))!;
        Assert.True(vocabulary.RemoveExtraWhitespaces);
        using var engine = new Engine(_folder["a.gguf"], 64);
        foreach (var text in (string[])["a  b\n\nc   d\te  ", "  a", "a b", "\uff41 caf\u00e9 \ud83d\ude00", " Once upon  a time "])
        {
            Assert.Equal(engine.Tokens(text), GgufTokenizerReader.Build(vocabulary.ForEngines()).Encode(text));
            var kept = TokenizerLoader.Load(folder.Path).Encode(text);
            Assert.Equal(kept, GgufTokenizerReader.Build(vocabulary).Encode(text));
            Assert.Equal(!text.Contains("  ", StringComparison.Ordinal), kept.SequenceEqual(engine.Tokens(text)));
        }
    }

    // On demand: the real model in every type, its perplexity on a book here and in llama.cpp, and its greedy answer there.
    [Theory(Explicit = true)]
    [MemberData(nameof(Types))]
    public void Real_model_in_every_type_keeps_its_perplexity_and_answers(GgufFileType type)
    {
        // 4,096 tokens were too few to tell a difference of 0.2 %.
        const int length = 512,
            windows = 32;
        using var scope = NewDisposeScope();
        using var origin = GgufModel.Open(SmolLm);
        using var before = ModelLoader.Load(origin.Config, origin.Weights);
        int[] ids =
        [
            .. origin
                .Tokenizer!.Encode(
                    File.ReadAllText(SharedMaterial.Shared("data", "books", "test", "Walter_Scott_Ivanhoe.txt")).AsSpan(0, 120_000)
                )
                .Take(length * windows),
        ];
        var path = Exported(SmolLm, type, out var written);
        using var file = GgufModel.Open(path);
        using var after = ModelLoader.Load(file.Config, file.Weights);
        using var engine = new Engine(path, length);
        double first = 0,
            second = 0,
            theirs = 0,
            largest = 0;
        foreach (var window in ids.Chunk(length))
        {
            using var inner = NewDisposeScope();
            var (ours, engines) = (Logits(after, window), engine.Logits(window));
            first += Loss(Logits(before, window), window) / windows;
            second += Loss(ours, window) / windows;
            theirs += Loss(engines, window) / windows;
            largest = Math.Max(largest, Near.Difference(ours, engines));
        }
        var chat = JsonNode.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "smollm2", "greedy.json")))![0]!;
        int[] prompt = [.. chat["prompt_ids"]!.AsArray().Select(i => (int)i!)];
        var answer = file.Tokenizer!.Decode([.. engine.Greedy(prompt, 8)]);
        TestContext.Current.SendDiagnosticMessage(
            $"{type}: {new FileInfo(path).Length} bytes "
                + $"({string.Join(", ", written.Tensors.Values.CountBy(t => t.Type).Select(t => $"{t.Value} {t.Key}"))}), "
                + $"perplexity {Math.Exp(first):F4} -> {Math.Exp(second):F4} ({100 * (Math.Exp(second - first) - 1):F3} %), in llama.cpp "
                + $"{Math.Exp(theirs):F4} ({100 * (Math.Exp(theirs - first) - 1):F3} %), logits apart by at most {largest:F4}; '{answer}'"
        );
        // The file that it comes from has 4 bits already; in 4 or 5 others it may answer in another way.
        if (type is not (GgufFileType.Q4_0 or GgufFileType.Q4_K_M or GgufFileType.Q5_K_M))
            Assert.Contains("Paris", answer);
        if (type == GgufFileType.F32)
            Assert.InRange(largest, 0, 0.02);
        Assert.InRange(
            Math.Abs(Math.Exp(second - first) - 1),
            0,
            type is GgufFileType.F32 or GgufFileType.F16 or GgufFileType.Bf16 or GgufFileType.Q8_0 ? 0.003
                : type == GgufFileType.Q4_0 ? 0.3
                : 0.1
        );
    }
}
