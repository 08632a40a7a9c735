namespace LongLora.Training;

/// <summary>AdamW's settings.</summary>
/// <param name="Beta1">Decay of the first moment.</param>
/// <param name="Beta2">Decay of the second moment.</param>
/// <param name="Epsilon">Added to the root of the second moment.</param>
/// <param name="WeightDecay">Decoupled weight decay, times the learning rate.</param>
/// <param name="MaxGradNorm">2-norm above which gradients are scaled down; 0 for no clipping.</param>
public sealed record AdamWOptions(
    double Beta1 = 0.9,
    double Beta2 = 0.95,
    double Epsilon = 1e-8,
    double WeightDecay = 0,
    double MaxGradNorm = 1
);
