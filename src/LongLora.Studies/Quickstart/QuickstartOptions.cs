namespace LongLora.Studies;

/// <summary>Options of the quickstart.</summary>
internal sealed record QuickstartOptions
{
    /// <summary>Folder of the small model to extend.</summary>
    public required string Model { get; init; }

    /// <summary>Output folder; must be new or empty.</summary>
    public required string Output { get; init; }

    /// <summary>The factor by which the context grows. Default 8.</summary>
    public int Factor { get; init; } = 8;

    /// <summary>Optimizer steps. Default 36.</summary>
    public int Steps { get; init; } = 36;

    /// <summary>Number of pass keys at each length. Default 20.</summary>
    public int Trials { get; init; } = 20;

    /// <summary>Seed for everything. Default 1.</summary>
    public int Seed { get; init; } = 1;
}
