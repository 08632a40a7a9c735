using LongLora.Configs;

namespace LongLora.Checkpoints;

// H heads, K head size

/// <summary>Orders of rows: entry i is the row of a file where row i of the matrix stands.</summary>
/// <remarks>
/// llama.cpp rotates neighboring numbers of a head in some architectures, where Hugging Face rotates the first half with the second: there
/// rows of q and k change places.
/// </remarks>
internal static class GgufRows
{
    // Value heads of one key head stand apart: value j of key head k at j G + k, for G key heads.
    public static int[] Tiled(ModelConfig config, int size)
    {
        var (values, keys) = (config.LinearAttention!.ValueHeadCount, config.LinearAttention.KeyHeadCount);
        var (rows, perKey) = (new int[values * size], values / keys);
        for (var row = 0; row < rows.Length; row++)
        {
            var head = row / size;
            rows[row] = (head % perKey * keys + head / perKey) * size + row % size;
        }
        return rows;
    }

    // Queries and keys, then values.
    public static int[] TiledChannels(ModelConfig config)
    {
        var net = config.LinearAttention!;
        var first = 2 * net.KeyHeadCount * net.KeySize;
        return [.. Enumerable.Range(0, first), .. Tiled(config, net.ValueSize).Select(row => first + row)];
    }

    // Number i of half j of a head stands at 2 i + j.
    public static int[] Neighbors(int heads, int size)
    {
        var rows = new int[heads * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var within = row % size;
            rows[row] = row - within + within % (size / 2) * 2 + within / (size / 2);
        }
        return rows;
    }

    // Number i of part p of head h, at h 3 K + p K + i, stands at p H K + h K + i.
    public static int[] PartByPart(int heads, int size)
    {
        var rows = new int[heads * 3 * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var (head, part, within) = (row / (3 * size), row / size % 3, row % size);
            rows[row] = (part * heads + head) * size + within;
        }
        return rows;
    }
}
