using System.Text.RegularExpressions;

namespace LongLora.Checkpoints;

/// <summary>
/// How a model family is laid out in GGUF, both ways: its architecture, the names and orders of its tensors (<see cref="GgufPart"/>), and
/// its keys (<see cref="GgufTrait"/>). <see cref="GgufLayouts"/> lists the families.
/// </summary>
/// <param name="Architecture"><c>general.architecture</c>.</param>
/// <param name="ModelType">The family, as <c>model_type</c> names it.</param>
internal sealed partial record GgufLayout(string Architecture, string ModelType)
{
    private readonly Dictionary<string, GgufPart> _byStored = new(StringComparer.Ordinal);
    private readonly ILookup<string, GgufPart> _byName = Array.Empty<GgufPart>().ToLookup(p => p.Name);
    private readonly Dictionary<string, GgufPart> _outerByStored = new(StringComparer.Ordinal),
        _outerByName = new(StringComparer.Ordinal);

    /// <summary>The architectures that can be read.</summary>
    public static IReadOnlyList<string> Architectures { get; } = [.. GgufLayouts.All.Select(l => l.Architecture).Distinct()];

    /// <summary>The families that can be written.</summary>
    public static IReadOnlyList<string> Families { get; } = [.. GgufLayouts.All.Select(l => l.ModelType)];

    /// <summary>The tensors of a layer. Names do not repeat what every layer's begins with.</summary>
    public required IReadOnlyList<GgufPart> Parts
    {
        get;
        init
        {
            field = value;
            _byStored = value.ToDictionary(p => p.Stored, StringComparer.Ordinal);
            _byName = value.ToLookup(p => p.Name, StringComparer.Ordinal);
        }
    }

    /// <summary>The tensors outside of layers.</summary>
    public required IReadOnlyList<GgufPart> Outer
    {
        get;
        init
        {
            field = value;
            _outerByStored = value.ToDictionary(p => p.Stored, StringComparer.Ordinal);
            _outerByName = value.ToDictionary(p => p.Name, StringComparer.Ordinal);
        }
    }

    /// <summary>The keys beyond those that all families have, in the order in which they are read.</summary>
    public IReadOnlyList<GgufTrait> Traits { get; init; } = [];

    /// <summary>Numbers of a layer that are a tensor here and a key, without the architecture's name, in the file.</summary>
    public IReadOnlyList<(string Name, string Key, long[] Shape)> Numbers { get; init; } = [];

    /// <summary>What names of layers begin with.</summary>
    public string LayerPrefix { get; init; } = "model.layers.";

    /// <summary>Decides between families with one architecture; the one without is taken where none else is.</summary>
    public Func<GgufMetadata, bool>? IsChosen { get; init; }

    /// <summary>Whether norms are LayerNorms.</summary>
    public bool HasLayerNorm { get; init; }

    /// <summary>Whether the family may rotate a part of each head only.</summary>
    public bool IsPartial { get; init; }

    /// <summary>Whether engines compute its windows; of others they are told no more context than a window reaches.</summary>
    public bool HasWindows { get; init; }

    /// <summary>Whether engines read what frequencies are divided by (<c>rope_freqs.weight</c>).</summary>
    public bool HasDivisors { get; init; }

    /// <summary>Whether engines read LongRoPE's divisors.</summary>
    public bool HasLongRope { get; init; }

    /// <summary>Whether engines read the range of YaRN (<c>yarn_beta_fast</c> and <c>yarn_beta_slow</c>); others take 32 and 1.</summary>
    public bool HasYarnRange { get; init; }

    /// <summary>Whether YaRN's attention factor may follow from <c>yarn_log_multiplier</c>.</summary>
    public bool HasLogMultiplier { get; init; }

    /// <summary>Whether layers may have other sizes than the first.</summary>
    public bool HasUnlikeLayers { get; init; }

    /// <summary>Whether a file may have blocks behind the model's that predict further tokens (<c>nextn_predict_layers</c>).</summary>
    public bool HasFurtherBlocks { get; init; }

    /// <summary>Whether there are experts.</summary>
    public bool HasExperts { get; init; }

    /// <summary>The layout of a family, or null if it is unknown.</summary>
    public static GgufLayout? OfFamily(string modelType) => Array.Find(GgufLayouts.All, l => l.ModelType == modelType);

    /// <summary>The layout of a file, or null if its architecture is unknown.</summary>
    /// <param name="architecture"><c>general.architecture</c>.</param>
    /// <param name="keys">Decide between families.</param>
    public static GgufLayout? OfFile(string architecture, GgufMetadata keys)
    {
        var all = Array.FindAll(GgufLayouts.All, l => l.Architecture == architecture);
        return Array.Find(all, l => l.IsChosen?.Invoke(keys) == true) ?? Array.Find(all, l => l.IsChosen is null);
    }

    /// <summary>Where the file has a tensor, in one place or in several.</summary>
    /// <param name="name">Its Hugging Face name.</param>
    /// <returns>None where the layout has no place for it.</returns>
    public IReadOnlyList<GgufPlace> ToFile(string name)
    {
        if (_outerByName.TryGetValue(name, out var outer))
            return [new(outer, outer.Stored, -1, null)];
        var match = ModelLayer().Match(name);
        if (!match.Success || !name.StartsWith(LayerPrefix, StringComparison.Ordinal))
            return [];
        var layer = int.Parse(match.Groups["layer"].Value, System.Globalization.CultureInfo.InvariantCulture);
        var inner = match.Groups["rest"].Value;
        int? expert = null;
        if (!_byName.Contains(inner) && ExpertNumber().Match(inner) is { Success: true } number)
        {
            expert = int.Parse(number.ValueSpan, System.Globalization.CultureInfo.InvariantCulture);
            inner = inner[..number.Index] + GgufPart.Expert + inner[(number.Index + number.Length)..];
        }
        return [.. _byName[inner].Select(part => new GgufPlace(part, $"blk.{layer}.{part.Stored}", layer, expert))];
    }

    /// <summary>What a tensor of a file is; null where the family has none like it.</summary>
    public GgufPlace? FromFile(string stored)
    {
        if (_outerByStored.TryGetValue(stored, out var outer))
            return new(outer, stored, -1, null);
        var match = FileLayer().Match(stored);
        return match.Success && _byStored.TryGetValue(match.Groups["rest"].Value, out var part)
            ? new(part, stored, int.Parse(match.Groups["layer"].ValueSpan, System.Globalization.CultureInfo.InvariantCulture), null)
            : null;
    }

    /// <summary>The Hugging Face name of what stands at a place.</summary>
    public string NameOf(GgufPlace place, int? expert = null)
    {
        var name = expert is { } number ? place.Part.Name.Replace(GgufPart.Expert, $"{number}", StringComparison.Ordinal) : place.Part.Name;
        return place.Layer < 0 ? name : $"{LayerPrefix}{place.Layer}.{name}";
    }

    /// <summary>The parts of a Hugging Face tensor that the file has in several.</summary>
    public IEnumerable<GgufPart> PartsOf(string inner) => _byName[inner];

    [GeneratedRegex(@"^.+?\.layers\.(?<layer>\d+)\.(?<rest>.+)$")]
    private static partial Regex ModelLayer();

    [GeneratedRegex(@"^blk\.(?<layer>\d+)\.(?<rest>.+)$")]
    private static partial Regex FileLayer();

    [GeneratedRegex(@"(?<=\.)\d+(?=\.)")]
    private static partial Regex ExpertNumber();
}
