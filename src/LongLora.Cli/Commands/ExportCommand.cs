using System.CommandLine;
using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Cli.Arguments;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Cli.Commands;

/// <summary>
/// <c>longlora export</c>: writes a model with its adapters merged, or only an adapter, in the formats of other programs. One subcommand
/// per format.
/// </summary>
internal static class ExportCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("export", "Write a model or an adapter in the formats of other programs.")
        {
            CreateFolder(context, "safetensors", "Write a Hugging Face folder with safetensors files."),
            CreateFolder(
                context,
                "pytorch",
                "Write a Hugging Face folder with pytorch_model.bin, for programs that cannot read safetensors."
            ),
            CreateGguf(context),
            CreateAdapter(context),
            CreateSplit(context),
        };

    private static Verb CreateFolder(CliContext context, string format, string description)
    {
        var source = new Source();
        var output = OutputOption.CreateForNewFolder();
        var shard = new Option<string>("--shard-size")
        {
            Description = "maximum size of a weight file, such as 500MB or 2GB [default: 5GB]",
            HelpName = "SIZE",
            DefaultValueFactory = _ => "5GB",
        };
        var type = new Option<string?>("--type") { Description = "f32, f16 or bf16 [default: as stored]", HelpName = "TYPE" };
        type.AcceptOnlyFromAmong("f32", "f16", "bf16");
        var json = new JsonOption("what was written");
        var command = new Verb(format, description, $"longlora export {format} --model merged --output out --shard-size 2GB")
        {
            output,
            shard,
            type,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            var bytes = ByteSize.Parse(parsed.GetValue(shard)!, shard.Name, "500MB or 2GB");
            using var loaded = source.Load(parsed);
            AdapterArguments.Tell(loaded.Adapter, context);
            HuggingFaceExporter.Write(
                target,
                loaded.Network,
                loaded.Files,
                new ExportOptions
                {
                    Pickle = format == "pytorch",
                    MaxShardBytes = bytes,
                    Type = ParseType(parsed.GetValue(type)),
                    TokenizerFolder = source.Adapter(parsed),
                }
            );
            using var written = CheckpointDirectory.Open(target, headersOnly: true);
            context.Output.WriteLine(
                $"{MessageText.Count(written.WeightFiles.Count, "file")}, {written.Tensors.Count} tensors, "
                    + $"{written.DataBytes / 1048576.0:N1} MiB; context {RopeScaling.GetCurrentContext(loaded.Config):N0} tokens."
            );
            context.Output.WriteLine($"Model: {target}");
            json.Write(
                parsed,
                context,
                $"export-{format}",
                new
                {
                    Model = target,
                    Files = written.WeightFiles.Count,
                    Tensors = written.Tensors.Count,
                    Bytes = written.DataBytes,
                    Context = RopeScaling.GetCurrentContext(loaded.Config),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateGguf(CliContext context)
    {
        var source = new Source();
        var output = OutputOption.CreateForNewFile();
        var type = new Option<string>("--type")
        {
            Description = "f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m or q4_0 [default: f16]",
            HelpName = "TYPE",
            DefaultValueFactory = _ => "f16",
        };
        type.AcceptOnlyFromAmong("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0");
        var alone = new Option<bool>("--adapter-only")
        {
            Description = "write only the LoRA matrices; refused if embeddings or norms were trained",
        };
        var bare = new Option<bool>("--no-tokenizer")
        {
            Description = "leave out the tokenizer, if engines do not support it; they then accept only token ids",
        };
        var json = new JsonOption("what was written");
        var command = new Verb(
            "gguf",
            "Write a GGUF file for llama.cpp and engines based on it.",
            "longlora export gguf --model merged --output merged.gguf --type q8_0"
        )
        {
            output,
            type,
            alone,
            bare,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var kind = Enum.Parse<GgufFileType>(parsed.GetValue(type)!, ignoreCase: true);
            var target = output.ReadNewFile(parsed, parsed.GetValue(alone) ? null : OllamaModelfile.ChoosePath);
            using var loaded = source.Load(parsed);
            AdapterArguments.Tell(loaded.Adapter, context);
            var (model, folder) = (loaded.Network, loaded.Files);
            if (parsed.GetValue(alone) && loaded.Adapter is null)
                throw new ConfigurationException("--adapter-only needs an --adapter.");
            var written = parsed.GetValue(alone)
                ? GgufExporter.WriteAdapter(target, loaded.Adapter!, model, kind)
                : GgufExporter.Write(target, model, folder, kind, TokenizerFolder(source.Adapter(parsed)), !parsed.GetValue(bare));
            var types = written
                .Tensors.Values.CountBy(t => t.Type)
                .OrderBy(t => t.Key)
                .Select(t => $"{t.Value} {t.Key.ToString().ToUpperInvariant()}");
            context.Output.WriteLine(
                $"{written.Tensors.Count} tensors ({string.Join(", ", types)}), {written.Keys.Count} keys, "
                    + $"{new FileInfo(target).Length / 1048576.0:N1} MiB; read back and checked."
            );
            if (!parsed.GetValue(alone))
                WarnOfTokens(context, written, loaded, TokenizerFolder(source.Adapter(parsed)));
            if (
                parsed.GetValue(alone)
                && !JsonNode.DeepEquals(
                    ModelConfigWriter.DescribePositions(model.Config),
                    ModelConfigWriter.DescribePositions(folder.Config)
                )
            )
            {
                context.Output.WriteLine(
                    $"The adapter was trained with RoPE {model.Config.RopeScaling.Kind} x{model.Config.RopeScaling.Factor} for "
                        + $"{RopeScaling.GetCurrentContext(model.Config):N0} tokens, which a GGUF adapter cannot store. Use it with a "
                        + "base that has these positions, or set them in the engine."
                );
            }
            context.Output.WriteLine($"GGUF: {target}");
            var modelfile = parsed.GetValue(alone) ? null : WriteModelfile(target, loaded, TokenizerFolder(source.Adapter(parsed)));
            if (modelfile is not null)
                context.Output.WriteLine($"Ollama: {modelfile}");
            json.Write(
                parsed,
                context,
                "export-gguf",
                new
                {
                    File = target,
                    Modelfile = modelfile,
                    Tensors = written.Tensors.Count,
                    Types = written.Tensors.Values.CountBy(t => t.Type).OrderBy(t => t.Key).ToDictionary(t => $"{t.Key}", t => t.Value),
                    Keys = written.Keys.Count,
                    Bytes = new FileInfo(target).Length,
                    Context = RopeScaling.GetCurrentContext(model.Config),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateAdapter(CliContext context)
    {
        var source = new Source(adapterRequired: true);
        var output = OutputOption.CreateForNewFolder();
        var layout = new Option<string>("--layout")
        {
            Description = "peft: adapter_model.safetensors; longlora: adapter_model.bin and trainable_params.bin [default: peft]",
            HelpName = "peft|longlora",
            DefaultValueFactory = _ => "peft",
        };
        layout.AcceptOnlyFromAmong("peft", "longlora");
        var bare = new Option<bool>("--no-padding-row")
        {
            Description =
                "with --layout longlora: do not add the [PAD] embedding that LongLoRA's scripts expect if the tokenizer has no "
                + "padding token",
        };
        var json = new JsonOption("what was written");
        var command = new Verb(
            "adapter",
            "Write an adapter in another layout.",
            "longlora export adapter --model base --adapter run/adapter --output pair"
        )
        {
            output,
            layout,
            bare,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var isPair = parsed.GetValue(layout) == "longlora";
            if (parsed.GetValue(bare) && !isPair)
                throw new ConfigurationException(
                    "--no-padding-row applies only with --layout longlora. Remove it, or add --layout longlora."
                );
            var target = output.ReadNewFolder(parsed);
            using var loaded = source.Load(parsed);
            AdapterArguments.Tell(loaded.Adapter, context);
            var (model, folder, adapter) = (loaded.Network, loaded.Files, loaded.Adapter!);
            var padding =
                !parsed.GetValue(bare)
                && model.Config.VocabularySize == folder.Config.VocabularySize
                && loaded.Tokenizer?.PadTokenId is null;
            AtomicFile.WriteDirectory(
                target,
                path =>
                {
                    if (isPair)
                        LongLoraPair.Write(path, adapter, model, loaded.Source.Reference, padding);
                    else
                        PeftFormat.Write(path, adapter, model, loaded.Source.Reference);
                },
                withChecksums: true
            );
            context.Output.WriteLine(
                $"{adapter.Adapters.Count} LoRA pairs and {adapter.ModelWeights.Count} trained "
                    + $"weights{(isPair && padding ? ", embeddings with a row for [PAD]" : "")}."
            );
            if (isPair)
            {
                context.Output.WriteLine(
                    $"Context: {RopeScaling.GetCurrentContext(model.Config)} tokens, RoPE {model.Config.RopeScaling.Kind}, in "
                        + $"{AdapterFiles.PositionsFile}, which longlora reads. LongLoRA's scripts do not."
                );
                if (!LongLoraPair.AgreesWithScripts(model.Config, folder.Config))
                    context.Error.WriteLine(
                        $"Note: LongLoRA's scripts always rescale positions linearly, but this adapter was trained with RoPE "
                            + $"{model.Config.RopeScaling.Kind}. Their results with it will be wrong. Use it with longlora only, or train "
                            + "for them with --rope-scaling linear."
                    );
            }
            context.Output.WriteLine($"Adapter: {target}");
            json.Write(
                parsed,
                context,
                "export-adapter",
                new
                {
                    Adapter = target,
                    LoraPairs = adapter.Adapters.Count,
                    TrainedWeights = adapter.ModelWeights.Count,
                    PaddingRow = isPair && padding,
                    Context = RopeScaling.GetCurrentContext(model.Config),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateSplit(CliContext context)
    {
        var source = new Source(adapterRequired: true);
        var output = OutputOption.CreateForNewFolder();
        var type = new Option<string?>("--type") { Description = "f32, f16 or bf16 for the base [default: as stored]", HelpName = "TYPE" };
        type.AcceptOnlyFromAmong("f32", "f16", "bf16");
        var gguf = new Option<string?>("--gguf")
        {
            Description = "write base.gguf and adapter.gguf too: f32, f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m or q4_0",
            HelpName = "TYPE",
        };
        gguf.AcceptOnlyFromAmong("f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0");
        var json = new JsonOption("what was written");
        var command = new Verb(
            "split",
            "Write a base with the trained embeddings and norms in it, and a plain LoRA adapter that engines load and switch.",
            "longlora export split --model base --adapter run/adapter --output split"
        )
        {
            output,
            type,
            gguf,
            json,
        };
        source.AddTo(command);
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            var tokenizer = TokenizerFolder(source.Adapter(parsed));
            using var loaded = source.Load(parsed);
            AdapterArguments.Tell(loaded.Adapter, context);
            GgufFileType? kind = parsed.GetValue(gguf) is { } name ? Enum.Parse<GgufFileType>(name, ignoreCase: true) : null;
            var options = new ExportOptions { Type = ParseType(parsed.GetValue(type)), TokenizerFolder = tokenizer };
            SplitExporter.Write(target, loaded, options, kind);
            context.Output.WriteLine(
                $"{loaded.Adapter!.ModelWeights.Count} trained weights are in the base, {loaded.Adapter.Adapters.Count} LoRA pairs in the "
                    + $"adapter; context {RopeScaling.GetCurrentContext(loaded.Config):N0} tokens."
            );
            context.Output.WriteLine($"Base: {Path.Combine(target, SplitExporter.BaseFolder)}");
            context.Output.WriteLine($"Adapter: {Path.Combine(target, SplitExporter.AdapterFolder)}");
            if (kind is not null)
            {
                var file = Path.Combine(target, SplitExporter.BaseFile);
                WarnOfTokens(context, GgufReader.Read(file), loaded, tokenizer);
                context.Output.WriteLine($"GGUF: {file}, {Path.Combine(target, SplitExporter.AdapterFile)}");
                context.Output.WriteLine($"Ollama: {WriteModelfile(file, loaded, tokenizer, SplitExporter.AdapterFile)}");
            }
            json.Write(
                parsed,
                context,
                "export-split",
                new
                {
                    Base = Path.Combine(target, SplitExporter.BaseFolder),
                    Adapter = Path.Combine(target, SplitExporter.AdapterFolder),
                    LoraPairs = loaded.Adapter.Adapters.Count,
                    TrainedWeights = loaded.Adapter.ModelWeights.Count,
                    Context = RopeScaling.GetCurrentContext(loaded.Config),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static ScalarType? ParseType(string? name) =>
        name switch
        {
            "f32" => ScalarType.Float32,
            "f16" => ScalarType.Float16,
            "bf16" => ScalarType.BFloat16,
            _ => null,
        };

    // The file is right, and engines read a part of it.
    private static void WarnOfTokens(CliContext context, GgufReader file, LoadedModel loaded, string? tokenizerFolder)
    {
        var tokenizer = tokenizerFolder is null ? loaded.Tokenizer : TokenizerLoader.Load(tokenizerFolder);
        if (tokenizer is not null && GgufTokenSameness.FindDifferences(tokenizer, file) is { Count: > 0 } kinds)
            context.Error.WriteLine(
                $"Warning: llama.cpp makes other tokens than this model's tokenizer of {string.Join(", ", kinds)}, because it does not "
                    + "follow these rules. Answers to other text are not affected."
            );
    }

    // What Ollama needs besides the file. A template that cannot be converted is left to Ollama.
    private static string WriteModelfile(string gguf, LoadedModel loaded, string? tokenizerFolder, string? adapter = null)
    {
        ChatTemplate? template = null;
        try
        {
            template = tokenizerFolder is null ? loaded.Source.FindTemplate("auto") : ChatTemplate.ReadOfModel(tokenizerFolder);
        }
        catch (CheckpointException) { }
        var tokenizer = tokenizerFolder is null ? loaded.Tokenizer : TokenizerLoader.LoadIfPresent(tokenizerFolder);
        return OllamaModelfile.Write(gguf, RopeScaling.GetCurrentContext(loaded.Config), tokenizer, template, adapter);
    }

    private static string? TokenizerFolder(string? adapter) =>
        adapter is not null && TokenizerLoader.LoadIfPresent(adapter) is not null ? adapter : null;

    /// <summary>Options for what to export.</summary>
    private sealed class Source(bool adapterRequired = false)
    {
        private readonly ModelOption _model = new();
        private readonly AdapterOption _adapter = new("folder of a PEFT or LongLoRA adapter for the model", adapterRequired);
        private readonly AdapterArguments _reading = new();

        internal void AddTo(Command command)
        {
            command.Options.Insert(0, _model);
            command.Options.Insert(1, _adapter);
            _reading.AddTo(command);
        }

        internal string? Adapter(ParseResult parsed) => parsed.GetValue(_adapter);

        internal LoadedModel Load(ParseResult parsed) =>
            LoadedModel.Open(
                parsed.GetValue(_model)!,
                new LoadOptions
                {
                    Adapter = Adapter(parsed),
                    AdapterReading = _reading.Read(parsed),
                    Device = "cpu",
                }
            );
    }
}
