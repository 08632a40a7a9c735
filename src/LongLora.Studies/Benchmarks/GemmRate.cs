using System.Diagnostics;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Studies;

// N rows, I inputs, O outputs

/// <summary>
/// The rate of the machine's matrix products on a model's own shapes: the reference for a training step, measured in the same process.
/// </summary>
internal static class GemmRate
{
    private const int RowsInProduct = 2048,
        Rounds = 3;

    // Long enough that the overhead of a call is negligible.
    private const double CpuOperations = 2e9,
        CudaOperations = 2e12;

    /// <summary>
    /// Operations per second over one step's mix of products: each linear layer's output x Wᵀ and input gradient g W, and for the head,
    /// where it is trained, the weight gradient gᵀ x. LoRA's narrow products are left out. Every distinct shape is timed alone, the best of
    /// three runs, and weighted with the number of layers that have it.
    /// </summary>
    /// <param name="model">For shapes, device and type; its weights are not used.</param>
    /// <param name="tokens">
    /// Tokens in the step; products have at most 2048 rows, those of the head as many as the loss has in a chunk.
    /// </param>
    public static double Measure(CausalLanguageModel model, long tokens)
    {
        var rows = Math.Min(tokens, RowsInProduct);
        var products = new List<Product>();
        foreach (var layer in model.Linears.Where(l => l != model.Head))
        {
            products.Add(new(rows, layer.InputSize, layer.OutputSize, Kind.Output));
            products.Add(new(rows, layer.OutputSize, layer.InputSize, Kind.InputGradient));
        }
        var (chunk, size, vocabulary) = (
            Math.Min(tokens, ChunkedCrossEntropy.CountChunkRows(model.Head.OutputSize, model.Device.type == DeviceType.CUDA)),
            model.Head.InputSize,
            model.Head.OutputSize
        );
        products.Add(new(chunk, size, vocabulary, Kind.Output));
        products.Add(new(chunk, vocabulary, size, Kind.InputGradient));
        if (model.Head.Projection is DenseProjection { Weight.IsTrained: true })
            products.Add(new(vocabulary, chunk, size, Kind.WeightGradient));

        double operations = 0,
            seconds = 0;
        foreach (var shape in products.GroupBy(p => p))
        {
            // Per token, so the head and the layers have the same weight as in the step.
            var perToken = shape.Key.Operations / shape.Key.Tokens * shape.Count();
            operations += perToken;
            seconds += perToken / MeasureRate(shape.Key, model.Device, model.ComputeType);
        }
        return operations / seconds;
    }

    /// <summary>Rows and columns of the square product that is timed.</summary>
    /// <param name="device">Where.</param>
    public static int ChooseSquareSize(Device device) => device.type == DeviceType.CUDA ? 8192 : 1024;

    /// <summary>Operations per second of a square product, fp32 on the CPU, bf16 on CUDA: the best rate that the machine reaches.</summary>
    /// <param name="device">Where to compute; null for the CPU.</param>
    public static double MeasureSquare(Device? device = null)
    {
        device ??= CPU;
        var size = ChooseSquareSize(device);
        return MeasureRate(
            new(size, size, size, Kind.InputGradient),
            device,
            device.type == DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32
        );
    }

    private enum Kind
    {
        Output,
        InputGradient,
        WeightGradient,
    }

    // [rows, inner] x [inner, columns]
    private readonly record struct Product(long Rows, long Inner, long Columns, Kind Kind)
    {
        public double Operations => 2.0 * Rows * Inner * Columns;

        public long Tokens => Kind == Kind.WeightGradient ? Inner : Rows;
    }

    // The operands have the same layout as in the layer.
    private static double MeasureRate(Product product, Device device, ScalarType type)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var (rows, inner, columns, kind) = product;
        Tensor MakeMatrix(long height, long width) => randn([height, width], type, device);
        var left = kind == Kind.WeightGradient ? MakeMatrix(inner, rows).t() : MakeMatrix(rows, inner);
        var right = kind == Kind.Output ? MakeMatrix(columns, inner).t() : MakeMatrix(inner, columns);
        var result = MakeMatrix(rows, columns);
        void Multiply()
        {
            if (kind == Kind.WeightGradient && result.dtype != ScalarType.BFloat16)
                result.AddTimes(left, right, 1);
            else
                left.Times(right).Dispose();
        }
        void Wait()
        {
            if (device.type == DeviceType.CUDA)
                cuda.synchronize(device);
        }

        Multiply();
        var (best, repeats) = (
            0.0,
            (int)Math.Clamp((device.type == DeviceType.CUDA ? CudaOperations : CpuOperations) / product.Operations, 1, 64)
        );
        for (var round = 0; round < Rounds; round++)
        {
            Wait();
            var watch = Stopwatch.StartNew();
            for (var i = 0; i < repeats; i++)
                Multiply();
            Wait();
            best = Math.Max(best, product.Operations * repeats / watch.Elapsed.TotalSeconds);
        }
        return best;
    }
}
