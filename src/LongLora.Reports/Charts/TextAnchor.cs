namespace LongLora.Reports;

/// <summary>Which point of a text is at its position; the value is twice the share of the text before that point.</summary>
internal enum TextAnchor
{
    /// <summary>Its start.</summary>
    Start = 0,

    /// <summary>Its middle.</summary>
    Middle = 1,

    /// <summary>Its end.</summary>
    End = 2,
}
