namespace LongLora.Options;

/// <summary>
/// What an option changes about a run. It determines a run's fingerprint (which must match for a resume), the key of cached tokens and the
/// identity of a measured run.
/// </summary>
/// <remarks>
/// Differences in rounding do not count. A path (of a model or data) changes nothing by itself, because its content is compared. The device
/// and ways to save memory give the same numbers up to rounding, so a run can continue on another machine. <c>steps</c> changes the numbers
/// only with a schedule that depends on the last step.
/// </remarks>
[Flags]
internal enum OptionEffect
{
    /// <summary>Neither tokens nor numbers: paths, the device, checkpoints.</summary>
    None = 0,

    /// <summary>What training computes from the tokens: losses and weights.</summary>
    Numbers = 1,

    /// <summary>The tokens of plain text.</summary>
    TextTokens = 2,

    /// <summary>The tokens of conversations, and which of them are learned.</summary>
    AnswerTokens = 4,

    /// <summary>The tokens of any kind of data.</summary>
    Tokens = TextTokens | AnswerTokens,
}
