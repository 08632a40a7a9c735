using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// A tensor [rows, columns] in the blocks of a mapped GGUF file, with its rows in Hugging Face's order. Valid while the file is open.
/// </summary>
/// <param name="Info">Its header entry.</param>
/// <param name="Address">Address of its first block.</param>
/// <param name="RowsInFile">For each row its row in the file; null if the orders are the same.</param>
/// <param name="File">The file, for messages.</param>
internal sealed unsafe record GgufMatrix(GgufTensorInfo Info, nint Address, int[]? RowsInFile, string File)
{
    // For smaller work one core is faster than starting a second one.
    private const long ElementsPerTask = 128 << 10;

    /// <summary>Elements of a row.</summary>
    public long Columns => Info.Shape.Count == 1 && RowsInFile is not null ? 1 : Info.Shape[^1];

    /// <summary>Rows of all outer dimensions together.</summary>
    public long Rows => Info.ElementCount / Columns;

    private long RowBytes => GgufFormat.Bytes(Info.Type, Columns);

    /// <summary>Bytes of all blocks.</summary>
    public long ByteCount => Info.ByteCount;

    /// <summary>Writes a rectangle in fp32, row by row without gaps, on all cores.</summary>
    /// <param name="rows">First row and number of rows.</param>
    /// <param name="columns">First column and number of columns.</param>
    /// <param name="target">rows x columns numbers.</param>
    public void Decode((long Start, long Count) rows, (long Start, long Count) columns, float* target)
    {
        var perTask = Math.Max(1, ElementsPerTask / columns.Count);
        var tasks = (rows.Count + perTask - 1) / perTask;
        void Run(long task)
        {
            for (var row = task * perTask; row < Math.Min(rows.Count, (task + 1) * perTask); row++)
                DecodeRow(rows.Start + row, columns, target + row * columns.Count);
        }
        if (tasks == 1)
            Run(0);
        else
            Parallel.For(0, tasks, Run);
    }

    /// <summary>Copies all rows in Hugging Face's order, in the stored type, which must not have blocks.</summary>
    public void CopyRows(nint target)
    {
        for (var row = 0L; row < Rows; row++)
            Buffer.MemoryCopy((void*)RowAddress(row), (void*)(target + (nint)(row * RowBytes)), RowBytes, RowBytes);
    }

    /// <summary>Checks that the scales of all blocks are finite.</summary>
    /// <exception cref="CheckpointException">A scale is not; the message names file, tensor and block.</exception>
    public void RequireFinite()
    {
        const int blocksAtOnce = 1 << 20;
        var bytes = GgufFormat.BlockBytes(Info.Type);
        var blocks = Info.ByteCount / bytes;
        for (var start = 0L; start < blocks; start += blocksAtOnce)
        {
            var count = (int)Math.Min(blocksAtOnce, blocks - start);
            var found = GgufBlocks.FirstNotFinite(Info.Type, new((byte*)Address + start * bytes, count * bytes));
            if (found >= 0)
                throw new CheckpointException(
                    $"{File}: '{Info.Name}' has an infinite or NaN scale in block {start + found}. The file is damaged or the "
                        + "model had diverged when it was saved."
                );
        }
    }

    private nint RowAddress(long row) => Address + (nint)((RowsInFile is null ? row : RowsInFile[row]) * RowBytes);

    /// <summary>The products of some rows with numbers, on the calling thread.</summary>
    /// <param name="first">The first row.</param>
    /// <param name="count">How many.</param>
    /// <param name="x">As many numbers as columns.</param>
    /// <param name="sums">The sum of each 16 of them; not read for types without a shift.</param>
    /// <param name="products">As many numbers as rows.</param>
    public void Dots(long first, long count, float* x, float* sums, float* products)
    {
        var (type, columns, bytes) = (Info.Type, Columns, RowBytes);
        for (var row = first; row < first + count; row++)
        {
            var at = (byte*)Address + (RowsInFile is null ? row : RowsInFile[row]) * bytes;
            products[row - first] = GgufBlocks.Dot(type, at, columns, x, sums);
        }
    }

    /// <summary>Writes a part of one row in fp32, on the calling thread.</summary>
    /// <param name="row">Its number.</param>
    /// <param name="columns">First column and number of columns.</param>
    /// <param name="target">As many numbers as columns.</param>
    public void DecodeRow(long row, (long Start, long Count) columns, float* target)
    {
        var size = GgufFormat.BlockSize(Info.Type);
        var (from, skipped) = (columns.Start / size, (int)(columns.Start % size));
        var start = RowAddress(row) + (nint)(from * GgufFormat.BlockBytes(Info.Type));
        if (skipped == 0 && columns.Count % size == 0)
        {
            GgufReader.Decode(Info.Type, start, columns.Count, target);
            return;
        }
        // A tile that starts or ends inside a block.
        Span<float> block = stackalloc float[size];
        for (var done = 0L; done < columns.Count; skipped = 0, start += GgufFormat.BlockBytes(Info.Type))
        {
            var count = (int)Math.Min(size - skipped, columns.Count - done);
            GgufBlocks.Decode(Info.Type, new((void*)start, GgufFormat.BlockBytes(Info.Type)), block);
            block.Slice(skipped, count).CopyTo(new(target + done, count));
            done += count;
        }
    }
}
