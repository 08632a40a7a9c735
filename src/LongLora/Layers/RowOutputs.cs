namespace LongLora.Layers;

/// <summary>Outputs of a layer for one row, as one of several products.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Outputs">Which outputs to compute; null for all.</param>
/// <param name="Shape">The shape of the result, of as many numbers as outputs.</param>
internal readonly record struct RowOutputs(LinearLayer Layer, FeatureSlice? Outputs, params long[] Shape);
