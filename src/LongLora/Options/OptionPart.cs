namespace LongLora.Options;

/// <summary>The parts of <see cref="FineTuneOptions"/>.</summary>
internal enum OptionPart
{
    /// <summary><see cref="FineTuneOptions.Model"/>.</summary>
    Model,

    /// <summary><see cref="FineTuneOptions.Data"/>.</summary>
    Data,

    /// <summary><see cref="FineTuneOptions.Method"/>.</summary>
    Method,

    /// <summary><see cref="FineTuneOptions.Optimizer"/>.</summary>
    Optimizer,

    /// <summary><see cref="FineTuneOptions.Run"/>.</summary>
    Run,

    /// <summary><see cref="FineTuneOptions.Machine"/>.</summary>
    Machine,
}
