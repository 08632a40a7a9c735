namespace LongLora.Configs;

/// <summary>Rotary positions that only some layers have.</summary>
internal sealed record RopeSettings
{
    /// <summary>Base of the frequencies (<c>rope_theta</c>).</summary>
    public required double Theta { get; init; }

    /// <summary>The scaling.</summary>
    public RopeScalingConfig Scaling { get; init; } = RopeScalingConfig.None;

    /// <summary>How many of a head's numbers rotate; even.</summary>
    public required int RotarySize { get; init; }
}
