namespace LongLora.Evaluation;

/// <summary>What hides the needles of a <see cref="RulerNeedleTask"/>.</summary>
internal enum RulerHaystack
{
    /// <summary>Sentences of a text: a book that is given, or sentences made here.</summary>
    Essay,

    /// <summary>The pass key's filler, a line again and again.</summary>
    Noise,

    /// <summary>Needles of other keys.</summary>
    Needles,
}
