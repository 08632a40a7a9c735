using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Values of a template's variables as people write them.</summary>
internal static class TemplateSettings
{
    /// <summary>Reads them.</summary>
    /// <param name="settings">NAME=VALUE each. A value is JSON, such as false or 2, or a text.</param>
    /// <exception cref="ConfigurationException">One has another form.</exception>
    public static IEnumerable<(string Name, JsonElement Value)> Read(IReadOnlyList<string> settings)
    {
        foreach (var setting in settings)
        {
            if (setting.Split('=', 2) is not [{ Length: > 0 } name, var value])
                throw new ConfigurationException(
                    $"template-options has '{setting}'; it must be NAME=VALUE, such as enable_thinking=false."
                );
            yield return (name, ReadValue(value));
        }
    }

    private static JsonElement ReadValue(string value)
    {
        try
        {
            return JsonElement.Parse(value);
        }
        catch (JsonException)
        {
            return JsonSerializer.SerializeToElement(value);
        }
    }
}
