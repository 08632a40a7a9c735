using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Distributed;
using LongLora.Runtime;
using TorchSharp;

namespace LongLora.Runs;

/// <summary>
/// <c>ranks.json</c> of a run directory: where each rank runs. A launcher names only the process number of a rank that was killed, and the
/// number of threads changes the last digits.
/// </summary>
internal static class RankFile
{
    private const string FileName = "ranks.json";

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>Rank 0 writes it, in a job of several ranks; of one process it removes that of an earlier start.</summary>
    internal static void Write(string folder, ICommunicator ranks, string device)
    {
        var path = Path.Combine(folder, FileName);
        if (ranks.Size == 1)
        {
            AtomicFile.Delete(path);
            return;
        }
        var all = ranks.GatherTexts(Describe(ranks, device));
        ranks.OnRoot("writing " + FileName, () =>
        {
            var list = new JsonArray([.. all.Select(text => JsonNode.Parse(text))]);
            AtomicFile.WriteText(path, list.ToJsonString(s_indented) + "\n");
        });
    }

    private static string Describe(ICommunicator ranks, string device) =>
        new JsonObject
        {
            ["rank"] = ranks.Rank,
            ["host"] = ranks.Hosts[ranks.Rank],
            ["pid"] = Environment.ProcessId,
            ["local_rank"] = ranks.LocalRank,
            ["device"] = Devices.Parse(device).ToString(),
            ["visible_devices"] = Environment.GetEnvironmentVariable("CUDA_VISIBLE_DEVICES"),
            ["threads"] = torch.get_num_threads(),
            ["cores"] = Environment.ProcessorCount,
            ["started"] = DateTime.UtcNow.ToString("u", CultureInfo.InvariantCulture),
        }.ToJsonString();
}
