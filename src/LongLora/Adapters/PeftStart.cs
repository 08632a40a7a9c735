namespace LongLora.Adapters;

/// <summary>At what the matrices of an adapter begin, as far as it changes what they mean.</summary>
internal enum PeftStart
{
    /// <summary>They are added to the base as it is.</summary>
    Plain,

    /// <summary>The base has lost its principal part.</summary>
    Pissa,

    /// <summary>The base has lost a part of its QR decomposition.</summary>
    Olora,
}
