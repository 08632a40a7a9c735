using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// B rows, l tokens, D model size, W width of the output

/// <summary>What a layer remembers of the previous text, for each row.</summary>
/// <param name="Tail">[B, t, C], the last inputs of its short convolution.</param>
/// <param name="Memory">[B, H, K, V] fp32, its recurrent state.</param>
internal readonly record struct RecurrentState(Tensor Tail, Tensor Memory);

/// <summary>A layer that reads a text from left to right with a state of fixed size, instead of attention.</summary>
internal abstract class Recurrence
{
    /// <summary>W, numbers of the output for each token.</summary>
    internal abstract long Width { get; }

    /// <summary>Its linear layers, except the output projection.</summary>
    internal abstract IReadOnlyList<LinearLayer> Layers { get; }

    /// <summary>The state before a text.</summary>
    internal abstract RecurrentState Begin(long rows, Device device);

    /// <summary>Reads the next tokens: [B, l, D] normalized -> [B, l, W] and the state after them. Differentiable in both.</summary>
    internal abstract (Tensor Output, RecurrentState State) Run(Tensor input, RecurrentState state);
}
