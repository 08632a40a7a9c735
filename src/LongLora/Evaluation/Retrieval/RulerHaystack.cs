namespace LongLora.Evaluation;

/// <summary>What hides the needles of a <see cref="RulerNeedleTask"/>.</summary>
internal enum RulerHaystack
{
    /// <summary>Sentences of a given text, or generated sentences.</summary>
    Essay,

    /// <summary>The pass key's filler, one line repeated.</summary>
    Noise,

    /// <summary>Needles of other keys.</summary>
    Needles,
}
