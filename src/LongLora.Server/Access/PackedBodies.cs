using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.RequestDecompression;
using ZstdSharp;

namespace LongLora.Server;

/// <summary>Bodies that a client has packed. ASP.NET Core unpacks gzip, deflate and br; this adds zstd and says what is damaged.</summary>
internal static class PackedBodies
{
    // Without it .NET takes a packed text that is cut off as a shorter one. The host of the application may have set it otherwise.
    private const string Strict = "System.IO.Compression.UseStrictValidation";

    /// <summary>Adds zstd to what is unpacked, and has cut-off data noticed.</summary>
    internal static void Add(RequestDecompressionOptions options)
    {
        if (!AppContext.TryGetSwitch(Strict, out _))
            AppContext.SetSwitch(Strict, true);
        options.DecompressionProviders.Add("zstd", new Zstandard());
    }

    /// <summary>
    /// The middleware behind the one that unpacks: it refuses bodies that were packed in a way that nobody has unpacked, and turns the
    /// errors of every decompressor into one.
    /// </summary>
    internal static Task Check(HttpContext context, RequestDelegate next)
    {
        var encoding = context.Request.Headers.ContentEncoding.ToString();
        // The one before has taken the header away.
        if (encoding.Length > 0 && !encoding.Equals("identity", StringComparison.OrdinalIgnoreCase))
            throw new ApiException(
                415,
                $"Content-Encoding is {encoding}; it must be gzip, br, deflate or zstd, or be left out.",
                code: "unsupported_encoding"
            );
        context.Request.Body = new Unpacked(context.Request.Body);
        return next(context);
    }

    private sealed class Zstandard : IDecompressionProvider
    {
        public Stream GetDecompressionStream(Stream stream) => new DecompressionStream(stream);
    }

    // Decompressors fail in ways of their own: with InvalidOperationException, or at an end that comes too early.
    private sealed class Unpacked(Stream inner) : ForwardStream(inner)
    {
        public override int Read(Span<byte> buffer) => throw new NotSupportedException("A body is read asynchronously.");

        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            try
            {
                return await Inner.ReadAsync(buffer, cancellationToken);
            }
            catch (Exception e) when (e is EndOfStreamException or not (IOException or OperationCanceledException or OutOfMemoryException))
            {
                throw new ApiException(
                    400,
                    "Cannot unpack the body because it is damaged or cut off. Pack it again, or send it as it is.",
                    code: "invalid_encoding"
                );
            }
        }
    }
}
