using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Outputs of a layer for one row, and where they go.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Outputs">Which outputs to compute; null for all.</param>
/// <param name="Result">Contiguous, fp32, on the CPU, with as many numbers as outputs.</param>
internal readonly record struct RowOutputs(LinearLayer Layer, FeatureSlice? Outputs, Tensor Result);
