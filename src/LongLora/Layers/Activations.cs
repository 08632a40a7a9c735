using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>The activation functions of an MLP, by their names in configs; differentiable.</summary>
internal static class Activations
{
    /// <summary>The function with a name.</summary>
    /// <exception cref="CheckpointException">The name is unknown.</exception>
    internal static Func<Tensor, Tensor> Get(string name) =>
        name switch
        {
            "silu" => x => nn.functional.silu(x),
            "gelu" => x => nn.functional.gelu(x),
            "gelu_new" or "gelu_fast" or "gelu_pytorch_tanh" => TanhGelu,
            "relu2" => SquareRelu,
            _ => throw new CheckpointException(
                $"The activation '{name}' is not supported. The supported activations are silu, gelu, gelu_new, gelu_fast, "
                    + $"gelu_pytorch_tanh, "
                    + "relu2."
            ),
        };

    // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))): the approximation of GPT-2, GPT-NeoX-20B and Gemma.
    private static Tensor TanhGelu(Tensor x) =>
        (x * x)
            .mul(Scalars.Of(0.044715))
            .add(Scalars.One, Scalars.One)
            .mul(x)
            .mul(Scalars.Of(Math.Sqrt(2 / Math.PI)))
            .tanh()
            .add(Scalars.One, Scalars.One)
            .mul(x)
            .mul(Scalars.Of(0.5));

    private static Tensor SquareRelu(Tensor x)
    {
        var positive = x.relu();
        return positive * positive;
    }
}
