namespace LongLora.Reports;

/// <summary>Which part of a text is where it is put; the value is twice the share of the text before that point.</summary>
internal enum TextAnchor
{
    /// <summary>Its beginning.</summary>
    Start = 0,

    /// <summary>Its middle.</summary>
    Middle = 1,

    /// <summary>Its end.</summary>
    End = 2,
}
