using LongLora.Checkpoints;

namespace LongLora.Tests.Checkpoints;

/// <summary>A model of a few bytes in GGUF, whole or in parts.</summary>
internal static class GgufModelFiles
{
    private const int Width = 32,
        Vocabulary = 16;

    /// <summary>Tensors of the model.</summary>
    public const int TensorCount = 11;

    /// <summary>One layer of width 32, a SentencePiece tokenizer of 16 tokens.</summary>
    public static GgufBytes Tiny(string architecture = "llama")
    {
        var file = new GgufBytes();
        Describe(file, architecture);
        foreach (var tensor in Tensors())
            Add(file, tensor);
        return file;
    }

    /// <summary>The metadata of such a model.</summary>
    public static void Describe(GgufBytes file, string architecture = "llama")
    {
        file.Key("general.architecture", architecture)
            .Key("general.type", "model")
            .Key("general.name", "tiny")
            .Key($"{architecture}.context_length", 64u)
            .Key($"{architecture}.embedding_length", (uint)Width)
            .Key($"{architecture}.block_count", 1u)
            .Key($"{architecture}.feed_forward_length", (uint)Width)
            .Key($"{architecture}.attention.head_count", 2u)
            .Key($"{architecture}.attention.head_count_kv", 2u)
            .Key($"{architecture}.attention.layer_norm_rms_epsilon", 1e-5f)
            .Key("tokenizer.ggml.model", "llama")
            .Key(
                "tokenizer.ggml.tokens",
                "<unk>",
                "<s>",
                "</s>",
                "\u2581",
                "a",
                "b",
                "c",
                "\u2581a",
                "\u2581b",
                "ab",
                "d",
                "e",
                "f",
                "g",
                "h",
                "i"
            )
            .Key("tokenizer.ggml.scores", [.. Enumerable.Range(0, Vocabulary).Select(i => -(float)i)])
            .Key("tokenizer.ggml.token_type", 2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)
            .Key("tokenizer.ggml.bos_token_id", 1u)
            .Key("tokenizer.ggml.eos_token_id", 2u)
            .Key("tokenizer.chat_template", "{{ messages[0].content }}");
    }

    /// <summary>The same model in several files.</summary>
    public static void WriteParts(TemporaryFolder folder, string name, int parts, int promised = TensorCount, bool twice = false)
    {
        var tensors = Tensors().ToList();
        for (var part = 0; part < parts; part++)
        {
            var file = new GgufBytes();
            if (part == 0)
                Describe(file);
            file.Key("split.no", GgufFormat.UInt16, BitConverter.GetBytes((ushort)part))
                .Key("split.count", GgufFormat.UInt16, BitConverter.GetBytes((ushort)parts))
                .Key("split.tensors.count", GgufFormat.Int32, BitConverter.GetBytes(twice ? promised + 1 : promised));
            foreach (var tensor in tensors.Where((_, i) => i % parts == part))
                Add(file, tensor);
            if (twice && part == 2)
                Add(file, tensors.First(t => t.Name == "output_norm.weight"));
            File.WriteAllBytes(folder[$"{name}-{part + 1:D5}-of-{parts:D5}.gguf"], file.Build());
        }
    }

    private static void Add(GgufBytes file, (string Name, int Rows) tensor)
    {
        if (tensor.Rows == 0)
        {
            file.Tensor(tensor.Name, 0, [.. Enumerable.Repeat(1f, Width).SelectMany(BitConverter.GetBytes)], Width);
            return;
        }
        file.Tensor(tensor.Name, (int)GgufType.Q8_0, new byte[34 * tensor.Rows], Width, tensor.Rows);
    }

    // 0 rows for a vector.
    private static IEnumerable<(string Name, int Rows)> Tensors() =>
        [
            ("token_embd.weight", Vocabulary),
            ("output_norm.weight", 0),
            ("blk.0.attn_norm.weight", 0),
            ("blk.0.ffn_norm.weight", 0),
            ("blk.0.attn_q.weight", Width),
            ("blk.0.attn_k.weight", Width),
            ("blk.0.attn_v.weight", Width),
            ("blk.0.attn_output.weight", Width),
            ("blk.0.ffn_gate.weight", Width),
            ("blk.0.ffn_up.weight", Width),
            ("blk.0.ffn_down.weight", Width),
        ];
}
