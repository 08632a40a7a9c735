using LongLora.Loading;

namespace LongLora.Hub;

/// <summary>Finds the user's access token where Hugging Face's programs keep it.</summary>
internal static class HubToken
{
    /// <summary>HF_TOKEN, or the file that a login writes (HF_TOKEN_PATH, or <c>token</c> in HF_HOME); null for none.</summary>
    /// <param name="variable">Gives the value of an environment variable.</param>
    public static string? Find(Func<string, string?> variable)
    {
        if (PullOptions.IsOn(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
            return null;
        return Clean(variable("HF_TOKEN")) ?? Clean(variable("HUGGING_FACE_HUB_TOKEN")) ?? Clean(ReadFile(variable));
    }

    private static string? ReadFile(Func<string, string?> variable)
    {
        var file = HubCache.ReadPath(variable, "HF_TOKEN_PATH") ?? Path.Combine(HubCache.FindHome(variable), "token");
        try
        {
            return File.Exists(file) ? File.ReadAllText(file) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // most models need none, and of those that do the server's answer is told
        }
    }

    private static string? Clean(string? token) =>
        token?.ReplaceLineEndings("").Trim() is { Length: > 0 } text && text.All(c => c is > ' ' and < (char)127) ? text : null;
}
