namespace LongLora.Data;

/// <summary>A source that reads files and knows of which it read nothing.</summary>
internal interface IFileReport
{
    /// <summary>Files in the given folders for which there is no reader. Names and folders that begin with a dot do not count.</summary>
    IReadOnlyList<string> Unread { get; }

    /// <summary>Files in which the last reading found nothing.</summary>
    IReadOnlyList<string> WithoutText { get; }
}
