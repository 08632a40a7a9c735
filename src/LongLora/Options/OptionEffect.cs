namespace LongLora.Options;

/// <summary>
/// What an option changes about a run. The fingerprint of a run, by which a resume is allowed, the key of cached tokens and the identity
/// of a measured run are made from it.
/// </summary>
/// <remarks>
/// What counts is what an option asks for, not how it is rounded. A location (of a model, of data) changes nothing by itself: what lies
/// there is compared by its content. A device, and what saves memory, give the same numbers up to rounding, so that a run may go on
/// elsewhere. <c>steps</c> changes the numbers only with a schedule that knows the last step.
/// </remarks>
[Flags]
internal enum OptionEffect
{
    /// <summary>Neither tokens nor numbers: where things lie, where is computed, what is kept.</summary>
    None = 0,

    /// <summary>What training computes from the tokens: losses and weights.</summary>
    Numbers = 1,

    /// <summary>The tokens that are made of running text.</summary>
    TextTokens = 2,

    /// <summary>The tokens that are made of conversations, and which of them are learnt.</summary>
    AnswerTokens = 4,

    /// <summary>The tokens, whatever is learnt from.</summary>
    Tokens = TextTokens | AnswerTokens,
}
