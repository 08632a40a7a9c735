namespace LongLora.Training;

/// <summary>How the learning rate moves, as in transformers.</summary>
public enum ScheduleKind
{
    /// <summary>Linear rise over the warm-up steps, then constant.</summary>
    ConstantWithWarmup,

    /// <summary>Linear rise, then half a cosine to zero.</summary>
    Cosine,

    /// <summary>Linear rise, then a line to zero.</summary>
    Linear,
}
