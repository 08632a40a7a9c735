using System.Globalization;
using LongLora.Tokenization;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Characters that stand for other ones in the form that a font chose: Kangxi radicals, CJK compatibility ideographs, Hebrew and Arabic
/// presentation forms. <see cref="string.Normalize()"/> is not used because it does nothing if .NET runs without ICU.
/// </summary>
internal static class CompatibilityForms
{
    private static readonly Dictionary<char, string> s_forms = Read();

    /// <summary>The characters that one stands for; null if it stands for itself.</summary>
    public static string? Find(char c) =>
        s_forms.TryGetValue(c, out var form) ? form
        : c is >= '\uF900' and <= '\uFAD9' && TextStep.Rewrite(CanonicalForm.C, c.ToString()) is var unified && unified[0] != c ? unified
        : null;

    private static Dictionary<char, string> Read()
    {
        using var stream = typeof(CompatibilityForms).Assembly.GetManifestResourceStream("CompatibilityForms.txt")!;
        using var reader = new StreamReader(stream);
        var forms = new Dictionary<char, string>();
        while (reader.ReadLine() is { } line)
        {
            if (line.StartsWith('#'))
                continue;
            var codes = line.Split(' ').Select(w => (char)ushort.Parse(w, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray();
            forms[codes[0]] = new string(codes, 1, codes.Length - 1);
        }
        return forms;
    }
}
