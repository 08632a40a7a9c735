namespace LongLora.Adapters;

/// <summary>How an adapter's matrices were initialized, if this changes their meaning.</summary>
internal enum PeftStart
{
    /// <summary>They are added to the unchanged base.</summary>
    Plain,

    /// <summary>The base's principal part was subtracted.</summary>
    Pissa,

    /// <summary>A part of the base's QR decomposition was subtracted.</summary>
    Olora,
}
