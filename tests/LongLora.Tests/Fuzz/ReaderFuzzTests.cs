using System.IO.Compression;
using System.Text;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Tests.Checkpoints;
using LongLora.Tokenization;

namespace LongLora.Tests.Fuzz;

/// <summary>Every file that the library reads, damaged at random.</summary>
public sealed class ReaderFuzzTests : IDisposable
{
    private const int Cases = 5000;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Write(string name, byte[] bytes)
    {
        var path = _folder[name];
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static string Stories => SharedMaterial.Golden("stories260K-hf");

    private static List<string> ReadAll(string pattern) =>
        [
            .. Directory
                .GetFiles(SharedMaterial.Golden(""), pattern, SearchOption.AllDirectories)
                .Order(StringComparer.Ordinal)
                .Select(File.ReadAllText),
        ];

    [Fact]
    public void Fuzz_safetensors()
    {
        var small = """
            {"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]},"d":{"dtype":"BOOL","shape":[0,5],"data_offsets":[40,40]}}
            """;
        byte[] Join(byte[] json) => [.. BitConverter.GetBytes((long)json.Length), .. json, .. new byte[40]];
        var odd = File.ReadAllBytes(SharedMaterial.Golden("torch", "odd.safetensors"));
        FuzzRun.Check(
            "safetensors",
            Cases,
            m =>
                m.Chance(50) ? Join(m.Json(small))
                : m.Chance(50) ? m.Bytes(Join(Encoding.UTF8.GetBytes(small)))
                : m.Bytes(odd, 8 + (int)BitConverter.ToInt64(odd)),
            bytes =>
            {
                using var reader = new SafetensorsReader(Write("x.safetensors", bytes));
                foreach (var name in reader.Tensors.Keys)
                {
                    using var tensor = reader.Open(name);
                    using var copy = tensor.numel() > 0 ? tensor.clone() : null;
                }
            }
        );
    }

    [Fact]
    public void Fuzz_pickles()
    {
        byte[][] seeds =
        [
            File.ReadAllBytes(SharedMaterial.Golden("torch", "odd.bin")),
            File.ReadAllBytes(SharedMaterial.Golden("torch", "odd_legacy.bin")),
        ];
        FuzzRun.Check(
            "pickle",
            Cases,
            m => m.Bytes(m.Pick(seeds), m.Chance(50) ? 2500 : int.MaxValue),
            bytes =>
            {
                using var reader = new TorchPickleReader(Write("x.bin", bytes));
                foreach (var (name, info) in reader.Tensors.Take(50))
                {
                    if (info.ByteCount > 1 << 22)
                        continue;
                    using var tensor = reader.Open(name);
                    using var copy = tensor.numel() > 0 ? tensor.clone() : null;
                }
            }
        );
    }

    [Fact]
    public void Fuzz_gguf()
    {
        var seed = GgufModelFiles.Tiny().Build();
        FuzzRun.Check(
            "gguf",
            Cases,
            m => m.Bytes(seed, m.Chance(50) ? 1500 : int.MaxValue),
            bytes =>
            {
                using var model = GgufModel.Open(Write("x.gguf", bytes));
                _ = model.Tokenizer;
            }
        );
    }

    [Fact]
    public void Fuzz_configs()
    {
        var seeds = ReadAll("config.json");
        FuzzRun.Check(
            "config",
            Cases,
            m => m.Json(m.Pick(seeds)),
            bytes =>
            {
                var config = ModelConfigReader.Parse(Encoding.UTF8.GetString(bytes));
                LongLora.Positions.RopeScaling.GetCurrentContext(config);
                if (config.LayerCount > 100)
                    return;
                using var model = ModelLoader.Describe(config);
            }
        );
    }

    [Fact]
    public void Fuzz_tokenizer_json()
    {
        string[] seeds =
        [
            """{"version":"1.0","added_tokens":[{"id":0,"content":"<unk>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},{"id":9,"content":"<x>","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,"special":false}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"NFKC"}]},"pre_tokenizer":null,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<unk>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<unk>":{"id":"<unk>","ids":[0],"tokens":["<unk>"]}}},"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"ignore_merges":false,"vocab":{"<unk>":0,"a":1,"b":2,"ab":3,"▁":4,"<0x00>":5,"▁a":6,"H":7,"e":8},"merges":["a b","▁ a"]}}""",
            """{"version":"1.0","added_tokens":[],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s+(?!\\S)|\\s+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},{"type":"Digits","individual_digits":true}]},"post_processor":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"H":4,"e":5,"Ċ":6},"merges":[["a","b"]]}}""",
        ];
        FuzzRun.Check("tokenizer.json", Cases, m => m.Json(m.Pick(seeds)), bytes => Encode(Write("tokenizer.json", bytes)));
    }

    [Fact]
    public void Fuzz_tokenizer_model()
    {
        byte[][] seeds =
        [
            File.ReadAllBytes(Path.Combine(Stories, "tokenizer.model")),
            File.ReadAllBytes(SharedMaterial.Golden("tokenizers", "bpe.model")),
            File.ReadAllBytes(SharedMaterial.Golden("tokenizers", "unigram.model")),
        ];
        FuzzRun.Check(
            "tokenizer.model",
            Cases,
            m => m.Bytes(m.Pick(seeds), m.Chance(50) ? 200 : int.MaxValue),
            bytes => Encode(Write("tokenizer.model", bytes))
        );
    }

    [Fact]
    public void Fuzz_tokenizer_config()
    {
        var seed = """
            {"bos_token":{"__type":"AddedToken","content":"<s>","lstrip":false,"normalized":true,"rstrip":false,"single_word":false},"eos_token":"</s>","add_bos_token":true,"added_tokens_decoder":{"0":{"content":"<unk>","special":true},"513":{"content":"<x>","lstrip":true}},"chat_template":"{{ messages[0]['content'] }}","model_max_length":1000000000000000019884624838656,"additional_special_tokens":["<a>"]}
            """;
        File.Copy(Path.Combine(Stories, "tokenizer.model"), _folder["tokenizer.model"]);
        FuzzRun.Check(
            "tokenizer_config.json",
            Cases,
            m => m.Json(seed),
            bytes =>
            {
                Encode(Write("tokenizer_config.json", bytes));
                ChatTemplate.ReadOfModel(_folder.Root);
            }
        );
    }

    private static void Encode(string file)
    {
        var tokenizer = TokenizerLoader.Load(Path.GetDirectoryName(file)!);
        tokenizer.Decode([.. tokenizer.Encode("Hello, wörld! 12345 \t\n 😀 <s> naïve\0 <x>", addSpecial: true)], skipSpecial: false);
    }

    [Fact]
    public void Fuzz_texts_and_conversations()
    {
        string[] seeds =
        [
            "{\"text\":\"hello\"}\n{\"text\":\"wor\\u00e9ld \\ud83d\\ude00\"}\n",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\",\"tool_cal"
                + "ls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}],\"tools\":\"[]\"}\n{\"c"
                + "onversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}],\"system\":\"s\"}"
                + "\n",
            "[{\"instruction\":\"i\",\"input\":\"x\",\"output\":\"o\",\"history\":[[\"a\",\"b\"]]},\n {\"instruction\":"
                + "\"i\",\"output\":\"o\"}]",
            "{\"prompt\":\"p\",\"completion\":\"c\"}\n",
        ];
        var tokenizer = TokenizerLoader.Load(Stories);
        var template = ChatTemplate.Find("chatml", Stories);
        FuzzRun.Check(
            "jsonl",
            Cases,
            m => m.Json(m.Pick(seeds)),
            bytes =>
            {
                var path = Write("x.jsonl", bytes);
                IExampleSource source =
                    bytes.Length % 4 == 0
                        ? ExampleSources.Open([path], tokenizer, 512)
                        : new ConversationSource([path], new ConversationFormat(), template, tokenizer, 512, 256);
                foreach (var example in source.Read())
                    _ = example.Ids.Count;
            }
        );
    }

    [Fact]
    public void Fuzz_compressed_texts()
    {
        var text = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("Once upon a time. ", 500)));
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
            gzip.Write(text);
        var tokenizer = TokenizerLoader.Load(Stories);
        FuzzRun.Check(
            "gzip",
            Cases,
            m => m.Bytes(packed.ToArray()),
            bytes =>
            {
                foreach (var example in ExampleSources.Open([Write("x.txt.gz", bytes)], tokenizer, 512).Read())
                    _ = example.Ids.Count;
            }
        );
    }

    [Fact]
    public void Fuzz_token_caches()
    {
        var tokenizer = TokenizerLoader.Load(Stories);
        var text = Write("d.txt", Encoding.UTF8.GetBytes(string.Join('\n', Enumerable.Range(0, 200).Select(i => $"Once upon a time {i}"))));
        var cache = new TokenCache(_folder["cache"], ["k"]);
        using (TokenStore.Build([ExampleSources.Open([text], tokenizer, 512)], 2, null, cache)) { }
        var seed = File.ReadAllBytes(cache.FilePath);
        var refused = 0;
        FuzzRun.Check(
            "token cache",
            Cases,
            m => m.Chance(50) ? m.Bytes(seed) : [.. seed[..^700], .. m.Bytes(seed[^700..])],
            bytes =>
            {
                File.WriteAllBytes(cache.FilePath, bytes);
                using var store = cache.TryOpen();
                if (store is null)
                    throw new LongLora.Runtime.DataException(
                        $"The damage is noticed for the {++refused}. time, and the texts are read again."
                    );
                Assert.Equal(seed, bytes);
            }
        );
    }

    [Fact]
    public void Fuzz_adapter_configs()
    {
        var seed = File.ReadAllText(SharedMaterial.Golden("llama_tiny_lora", "adapter_config.json"));
        var tensors = SharedMaterial.Golden("llama_tiny_lora", "adapter_model.safetensors");
        File.Copy(tensors, _folder["adapter_model.safetensors"]);
        FuzzRun.Check(
            "adapter_config.json",
            Cases / 10,
            m => m.Json(seed),
            bytes =>
            {
                Write("adapter_config.json", bytes);
                CheckpointSummary.Read(_folder.Root);
                using var folder = CheckpointDirectory.Open(SharedMaterial.Golden("llama_tiny"));
                using var model = ModelLoader.Load(folder.Config, folder);
                using var set = PeftFormat.Attach(_folder.Root, model);
            }
        );
    }

    [Fact]
    public void Fuzz_checkpoint_indexes()
    {
        var names = SafetensorsHeader.Read(SharedMaterial.Golden("llama_tiny", "model.safetensors")).Tensors.Keys;
        var map = string.Join(',', names.Select(n => $"\"{n}\":\"a.safetensors\""));
        var seed = $"{{\"metadata\":{{\"total_size\":437600}},\"weight_map\":{{{map}}}}}";
        File.Copy(SharedMaterial.Golden("llama_tiny", "model.safetensors"), _folder["a.safetensors"]);
        File.Copy(SharedMaterial.Golden("llama_tiny", "config.json"), _folder["config.json"]);
        FuzzRun.Check(
            "index",
            Cases,
            m => m.Json(seed),
            bytes =>
            {
                Write("model.safetensors.index.json", bytes);
                CheckpointSummary.Read(_folder.Root);
            }
        );
    }
}
