namespace LongLora.Data;

/// <summary>One token as a model sees it.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">
/// What it adds to the text. Control tokens are written out, such as <c>&lt;s&gt;</c>. It is empty if a character needs further tokens.
/// </param>
/// <param name="IsLearned">Whether the model is trained to predict it.</param>
internal readonly record struct PreviewToken(int Id, string Text, bool IsLearned);
