using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Quantization;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Studies;
using LongLora.Training;
using Spectre.Console;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora bench</c>: one subcommand per benchmark.</summary>
internal static class BenchCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("bench", "Measure speed and memory on this machine.")
        {
            CreateStep(context),
            CreateDecode(context),
            CreateDequantize(context),
        };

    private static ModelOption CreateModelOption() =>
        new(
            "folder of a Hugging Face model, or the name of a published one (see longlora plan --help) to use random weights of "
                + "its shape [default: stories15M]",
            isRequired: false,
            "DIR|NAME"
        );

    private static Verb CreateStep(CliContext context)
    {
        var standard = new StepBenchmarkOptions();
        var lengths = new LengthsOption("context lengths in tokens, separated by commas", name: "--context");
        var model = CreateModelOption();
        var kind = new QuantizationOption(QuantizationKind.None);
        var group = new Option<int>("--group-size")
        {
            Description = "attention group size in tokens [default: a quarter of the context]",
            HelpName = "G",
        };
        var steps = new Option<int>("--steps")
        {
            Description = "number of timed steps after one warm-up step; 0 to time only the warm-up step",
            HelpName = "K",
            DefaultValueFactory = _ => standard.Steps,
        };
        var full = new Option<bool>("--full")
        {
            Description = "also measure full attention",
            HelpName = "true|false",
            DefaultValueFactory = _ => true,
        };
        var blocks = new CountOption("--blocks-per-segment")
        {
            Description = "decoder blocks per activation checkpoint",
            HelpName = "K",
            DefaultValueFactory = _ => standard.BlocksPerSegment,
        };
        var offload = new Option<ActivationOffload>("--activation-offload")
        {
            Description = "where activations are kept for the backward pass",
            HelpName = "none|host|disk|auto",
            DefaultValueFactory = _ => standard.Offload,
        };
        var kept = new Option<string>("--activation-memory")
        {
            Description = "memory for activations that would otherwise be recomputed, such as 2GiB; auto takes half of what is free",
            HelpName = "auto|SIZE",
            DefaultValueFactory = _ => "0",
        };
        var device = new DeviceOption();
        var compute = new ComputeOption();
        var json = new JsonOption();
        var peer = new Option<string>("--export-peer")
        {
            Description = "write weights, tokens and losses for benchmarks/peer to this folder; must be new or empty",
            HelpName = "DIR",
        };
        var command = new Verb("step", "Time one training step (LoRA+, batch 1), with shifted sparse and with full attention.")
        {
            lengths,
            model,
            kind,
            group,
            steps,
            full,
            blocks,
            offload,
            kept,
            device,
            compute,
            json,
            peer,
        };
        command.SetAction(parsed =>
        {
            var contexts = lengths.Read(parsed);
            var options = standard with
            {
                GroupSize = parsed.GetValue(group),
                Steps = parsed.GetValue(steps),
                Full = parsed.GetValue(full),
                BlocksPerSegment = parsed.GetValue(blocks),
                Offload = parsed.GetValue(offload),
                ActivationMemory = OptionBuilder<MachineOptions>.ParseMemory(kept.Name, parsed.GetValue(kept)!),
            };
            var place = device.Read(parsed);
            var maker = ChooseMaker(
                parsed.GetValue(model),
                contexts.Max(),
                new LoadOptions
                {
                    Device = parsed.GetValue(device)!,
                    Quantization = parsed.GetValue(kind)!.Value,
                    Compute = parsed.GetValue(compute),
                }
            );
            if (parsed.GetValue(peer) is { } folder)
                StepBenchmark.Export(OutputOption.RequireNewFolder(folder), maker, contexts, options);
            var results = contexts.Select(length => Measure(context, maker, length, options)).ToList();
            Show(context, results, options, place);
            json.Write(parsed, context, "bench-step", ToValues(results));
            if (parsed.GetValue(peer) is { } peerFolder)
                AtomicFile.WriteText(Path.Combine(peerFolder, "ours.json"), WritePeerJson(results));
            return ExitCode.Done;
        });
        return command;
    }

    private static readonly string[] s_decodeColumns =
    [
        "prompt",
        "seconds",
        "tokens/s",
        "GFLOP/s",
        "of matmul rate",
        "ms per token",
        "tokens/s generated",
        "outside kernels",
        "cache",
    ];

    private static Verb CreateDecode(CliContext context)
    {
        var lengths = new LengthsOption("prompt lengths in tokens, separated by commas", name: "--context");
        var model = CreateModelOption();
        var kind = new QuantizationOption(null);
        var tokens = new CountOption("--tokens")
        {
            Description = "tokens to generate after the prompt",
            HelpName = "K",
            DefaultValueFactory = _ => 64,
        };
        var type = new CacheTypeOption();
        var chunk = new CountOption("--prefill-chunk")
        {
            Description = "prompt tokens to process at once",
            HelpName = "N",
            DefaultValueFactory = _ => 1024,
        };
        var device = new DeviceOption();
        var json = new JsonOption();
        var command = new Verb("decode", "Time prompt processing and token-by-token generation.")
        {
            lengths,
            model,
            kind,
            tokens,
            chunk,
            type,
            device,
            json,
        };
        command.SetAction(parsed =>
        {
            var prompts = lengths.Read(parsed);
            using var made = ChooseMaker(
                parsed.GetValue(model),
                prompts.Max() + parsed.GetValue(tokens),
                new LoadOptions { Device = parsed.GetValue(device)!, Quantization = parsed.GetValue(kind) }
            )();
            context.Output.WriteLine($"Full attention, batch 1; {TorchSharp.torch.get_num_threads()} threads.");
            var table = new Table().Border(TableBorder.Simple);
            foreach (var name in s_decodeColumns)
                table.AddColumn(new TableColumn(name).RightAligned().NoWrap());
            var measured = new Dictionary<int, DecodeMeasurement>();
            foreach (var length in prompts)
            {
                var m = measured[length] = DecodeBenchmark.Run(
                    made.Network,
                    length,
                    parsed.GetValue(tokens),
                    parsed.GetValue(chunk),
                    parsed.GetValue(type),
                    context.Cancellation
                );
                var rate = m.PrefillFlops / m.PrefillSeconds;
                table.AddRow(
                    $"{length:N0}",
                    $"{m.PrefillSeconds:F3}",
                    $"{length / m.PrefillSeconds:N0}",
                    $"{rate / 1e9:F1}",
                    $"{100 * rate / m.GemmRate:F0} % of {m.GemmRate / 1e9:F0}",
                    $"{m.TokenSeconds * 1e3:F2}",
                    $"{1 / m.TokenSeconds:N0}",
                    $"{100 * m.OverheadShare:F0} % of {m.ShortestTokenSeconds * 1e3:F2}",
                    TrainingPlan.FormatSize(m.CacheBytes)
                );
            }
            context.Console.Write(table);
            context.Output.WriteLine(
                "Outside kernels: the time per token of a model with as many blocks but tiny matrices, as a share of this model's "
                    + "shortest time per token (ms)."
            );
            json.Write(
                parsed,
                context,
                "bench-decode",
                new
                {
                    Results = measured.Select(m => new
                    {
                        Context = m.Key,
                        m.Value.PrefillSeconds,
                        m.Value.PrefillFlops,
                        m.Value.GemmRate,
                        m.Value.TokenSeconds,
                        m.Value.ShortestTokenSeconds,
                        m.Value.OverheadShare,
                        m.Value.CacheBytes,
                    }),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateDequantize(CliContext context)
    {
        var size = new CountOption("--size")
        {
            Description = "number of rows and columns of the matrix",
            HelpName = "N",
            DefaultValueFactory = _ => 4096,
        };
        var rows = new CountOption("--tokens")
        {
            Description = "number of tokens to multiply by it",
            HelpName = "N",
            DefaultValueFactory = _ => 512,
        };
        var json = new JsonOption();
        var command = new Verb("dequantize", "Compare matrix products in 4 and 8 bits with fp32, on the CPU.") { size, rows, json };
        command.SetAction(parsed =>
        {
            var times = DequantizationBenchmark.Run(parsed.GetValue(size), parsed.GetValue(rows));
            context.Output.WriteLine(
                $"{times.Size} x {times.Size} matrix, {times.Rows} tokens, "
                    + $"{MessageText.Count(TorchSharp.torch.get_num_threads(), "thread")}; fastest "
                    + "of several runs"
            );
            void Line(string name, double seconds) =>
                context.Output.WriteLine(
                    $"  {name, -36} {seconds * 1e3, 9:F2} ms  {100 * seconds / times.Dense, 6:F1} % of the fp32 product"
                );
            Line("product, fp32", times.Dense);
            Line("product, nf4", times.Nf4);
            Line("product, int8", times.Int8);
            foreach (var (name, seconds) in times.Kernels)
                Line($"decoding nf4, {name.ToLowerInvariant()} code", seconds);
            Line("decoding nf4, tensor operations", times.Lookup);
            Line("encoding nf4", times.Quantize);
            context.Output.WriteLine($"  nf4 takes {times.BytesPerWeight:F4} bytes per weight");
            json.Write(
                parsed,
                context,
                "bench-dequantize",
                new
                {
                    times.Size,
                    Tokens = times.Rows,
                    DenseSeconds = times.Dense,
                    Nf4Seconds = times.Nf4,
                    Int8Seconds = times.Int8,
                    KernelSeconds = times.Kernels.ToDictionary(k => k.Key.ToLowerInvariant(), k => k.Value),
                    LookupSeconds = times.Lookup,
                    QuantizeSeconds = times.Quantize,
                    times.BytesPerWeight,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Func<LoadedModel> ChooseMaker(string? model, int context, LoadOptions options)
    {
        var source =
            model is null ? ModelSource.Create(StepBenchmark.CreateSmallLlama(context), seed: 0)
            : !Directory.Exists(model) && PublishedConfigs.Has(model)
                ? ModelSource.Create(PublishedConfigs.Find(model), seed: 0, TorchSharp.torch.ScalarType.BFloat16)
            : ModelSource.Open(model);
        return () => LoadedModel.Open(source, options);
    }

    private static StepBenchmarkResult Measure(CliContext context, Func<LoadedModel> maker, int length, StepBenchmarkOptions options)
    {
        if (!context.ShowsProgress)
            return StepBenchmark.Run(maker, length, options, context.Cancellation);
        return context.Console.Status().Start($"context {length:N0}", _ => StepBenchmark.Run(maker, length, options, context.Cancellation));
    }

    private static void Show(
        CliContext context,
        List<StepBenchmarkResult> results,
        StepBenchmarkOptions options,
        TorchSharp.torch.Device device
    )
    {
        var size = GemmRate.ChooseSquareSize(device);
        context.Console.WriteLine(
            $"One training step: LoRA+ (rank {options.Tuning.Rank}), batch 1; "
                + $"{(options.Steps == 0 ? "one step" : $"fastest and median of {options.Steps} steps after a warm-up step")}; "
                + $"{TorchSharp.torch.get_num_threads()} threads. Matrix products of {size} x {size} reach "
                + $"{GemmRate.MeasureSquare(device) / 1e9:F0} GFLOP/s."
        );
        var table = new Table().Border(TableBorder.Simple);
        foreach (
            var name in new[]
            {
                "context",
                "attention",
                "group",
                "seconds",
                "median",
                "needed GFLOP",
                "recomputed",
                "useful GFLOP/s",
                "of matmul rate",
                "peak memory",
                "planned",
                "loss",
            }
        )
            table.AddColumn(new TableColumn(name).RightAligned().NoWrap());
        foreach (var result in results)
        {
            AddRow(table, result, "s2", $"{result.GroupSize:N0}", result.Sparse);
            if (result.Full is { } full)
                AddRow(table, result, "full", "", full);
        }
        context.Console.Write(table);
        foreach (var result in results.Where(r => r.Full is not null))
        {
            double time = result.Full!.MinSeconds / result.Sparse.MinSeconds,
                needed = result.Full.Flops.Needed / result.Sparse.Flops.Needed;
            context.Console.WriteLine(
                $"context {result.Context:N0}: full attention takes {time:F2} times as long as s2 and needs {needed:F2} times the "
                    + "operations"
            );
        }
        context.Console.WriteLine(
            "GFLOP counts matrix products and attention. Peak memory excludes the model, gradients and optimizer state."
        );
    }

    private static void AddRow(Table table, StepBenchmarkResult result, string name, string group, StepMeasurement step) =>
        table.AddRow(
            $"{result.Context:N0}",
            name,
            group,
            $"{step.MinSeconds:F3}",
            $"{step.MedianSeconds:F3}",
            $"{step.Flops.Needed / 1e9:N1}",
            $"{step.Flops.Recomputed / 1e9:N1}",
            $"{step.UsefulRate / 1e9:F1}",
            $"{100 * step.UsefulRate / result.GemmRate:F0} % of {result.GemmRate / 1e9:F0}",
            $"{step.PeakBytes / (double)(1 << 20):N0} MiB",
            $"{step.Planned.Step / (double)(1 << 20):N0} MiB",
            $"{step.Losses[0]:F4}"
        );

    private static object ToValues(List<StepBenchmarkResult> results) =>
        new
        {
            results = results.Select(r => new
            {
                context = r.Context,
                s2_seconds = r.Sparse.MinSeconds,
                full_seconds = r.Full?.MinSeconds,
                s2_flops = r.Sparse.Flops.Needed,
                full_flops = r.Full?.Flops.Needed,
                s2_gflops_useful = r.Sparse.UsefulRate / 1e9,
                gemm_gflops = r.GemmRate / 1e9,
                s2_recomputed_flops = r.Sparse.Flops.Recomputed,
                full_recomputed_flops = r.Full?.Flops.Recomputed,
                s2_peak_bytes = r.Sparse.PeakBytes,
                full_peak_bytes = r.Full?.PeakBytes,
            }),
        };

    // By context and attention, which benchmarks/peer/compare.py compares with the peer's.
    private static string WritePeerJson(List<StepBenchmarkResult> results) =>
        JsonSerializer.Serialize(
            results.ToDictionary(
                r => r.Context.ToString(CultureInfo.InvariantCulture),
                r => new
                {
                    group = r.GroupSize,
                    s2 = MakePeerRecord(r.Sparse),
                    full = r.Full is null ? null : MakePeerRecord(r.Full),
                }
            )
        ) + "\n";

    private static object MakePeerRecord(StepMeasurement step) =>
        new
        {
            seconds = step.MinSeconds,
            losses = step.Losses,
            resident_bytes = step.ResidentBytes,
            peak_resident_bytes = step.PeakResidentBytes,
        };
}
