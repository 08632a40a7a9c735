using System.Diagnostics;
using System.Text;
using LongLora.Tokenization;

namespace LongLora.Benchmarks;

/// <summary>What tokenising a corpus once costs, from a cold start: each book in one call, on one thread.</summary>
internal static class TokenizerThroughput
{
    /// <summary>
    /// Prints one line a model: MB of UTF-8 a second of processor time (all threads of the process, compiler and collector included) and
    /// of wall time.
    /// </summary>
    /// <param name="books">Folder with <c>.txt</c> files, searched with its subfolders.</param>
    /// <param name="models">Model folders.</param>
    public static void Run(string books, IReadOnlyList<string> models)
    {
        var files = Directory.GetFiles(books, "*.txt", SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToList();
        Console.WriteLine(
            "model | load s | files | MB | tokens | encode MB/CPU-s | encode MB/s | decode MB/s | allocated MB a MB | round trips that "
                + "differ"
        );
        foreach (var model in models)
        {
            var clock = Stopwatch.StartNew();
            var tokenizer = TokenizerLoader.Load(model);
            var load = clock.Elapsed.TotalSeconds;
            var (bytes, tokens, allocated, differ) = (0L, 0L, 0L, 0);
            var (encoding, decoding, processor) = (TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero);
            foreach (var file in files)
            {
                var text = File.ReadAllText(file);
                bytes += Encoding.UTF8.GetByteCount(text);
                var (before, used) = (GC.GetAllocatedBytesForCurrentThread(), Processor());
                clock.Restart();
                var ids = tokenizer.Encode(text);
                encoding += clock.Elapsed;
                processor += Processor() - used;
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
                tokens += ids.Count;
                int[] row = [.. ids];
                clock.Restart();
                var back = tokenizer.Decode(row);
                decoding += clock.Elapsed;
                if (back != text)
                    differ++;
            }
            var megabytes = bytes / 1e6;
            Console.WriteLine(
                $"{Path.GetFileName(Path.TrimEndingDirectorySeparator(model))} | {load:F2} | {files.Count} | {megabytes:F1} | {tokens} "
                    + $"| {megabytes / processor.TotalSeconds:F1} | "
                    + $"{megabytes / encoding.TotalSeconds:F1} | {megabytes / decoding.TotalSeconds:F1} | "
                    + $"{(double)allocated / bytes:F1} | {differ}"
            );
        }
    }

    private static TimeSpan Processor()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime;
    }
}
