using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// I inputs, O outputs, r rank, k columns of the sketch

/// <summary>The parts of a matrix from which PiSSA and OLoRA start: A₀ [r, I] and B₀ [O, r], fp32; the caller disposes them.</summary>
internal static class LoraStart
{
    /// <summary>
    /// The principal part of W (arXiv 2404.02948): s B₀ A₀ = U S V of the r largest singular values, with their square root on each side.
    /// </summary>
    /// <param name="matrix">W [O, I], fp32.</param>
    /// <param name="rank">r, at most O and I.</param>
    /// <param name="scale">s.</param>
    /// <param name="iterations">
    /// 0 for exact SVD, of order O I min(O, I). Otherwise the iterations of randomized SVD (arXiv 0909.4061, algorithm 4.4), of order O I r
    /// each.
    /// </param>
    /// <param name="seed">Seed for randomized SVD.</param>
    internal static (Tensor A, Tensor B) Pissa(Tensor matrix, int rank, double scale, int iterations = 0, long seed = 0)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var (u, s, v) = iterations == 0 ? linalg.svd(matrix, false) : Sketch(matrix, rank, iterations, seed);
        var roots = s.narrow(0, 0, rank).div(Scalars.Of(scale)).sqrt_();
        var a = v.narrow(0, 0, rank).mul(roots.unsqueeze(1));
        var b = u.narrow(1, 0, rank).mul(roots);
        return (a.MoveToOuterDisposeScope(), b.MoveToOuterDisposeScope());
    }

    /// <summary>OLoRA's (arXiv 2406.01775): the first r columns of Q and rows of R of W = Q R.</summary>
    /// <param name="matrix">W [O, I], fp32.</param>
    /// <param name="rank">r, at most O and I.</param>
    internal static (Tensor A, Tensor B) Olora(Tensor matrix, int rank)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var (q, r) = linalg.qr(matrix);
        var a = r.narrow(0, 0, rank).contiguous();
        var b = q.narrow(1, 0, rank).contiguous();
        return (a.MoveToOuterDisposeScope(), b.MoveToOuterDisposeScope());
    }

    private static (Tensor U, Tensor S, Tensor V) Sketch(Tensor matrix, int rank, int iterations, long seed)
    {
        var width = Math.Min(2L * rank, Math.Min(matrix.size(0), matrix.size(1)));
        using var generator = new Generator((ulong)seed, CPU);
        var basis = Orthogonal(matrix.mm(randn([matrix.size(1), width], generator: generator).to(matrix.device))); // [O, k]
        for (var i = 0; i < iterations; i++)
            basis = Orthogonal(matrix.mm(Orthogonal(matrix.t().mm(basis))));
        var (u, s, v) = linalg.svd(basis.t().mm(matrix), false);
        return (basis.mm(u), s, v);
    }

    private static Tensor Orthogonal(Tensor columns) => linalg.qr(columns).Q;
}
