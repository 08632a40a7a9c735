namespace LongLora.Tests.Architecture;

/// <summary>Reads the compiled library: each room, which is a namespace, uses only the rooms below it.</summary>
public class LayerRuleTests
{
    // The rooms of src/LongLora from the ground up. The root, with FineTune, uses all of them.
    private static readonly string[] s_rooms =
    [
        "Runtime",
        "Distributed",
        "Configs",
        "Checkpoints",
        "Layers",
        "Quantization",
        "Positions",
        "Attention",
        "Models",
        "Adapters",
        "Tokenization",
        "Loading",
        "Data",
        "Training",
        "Generation",
        "Evaluation",
        "Export",
        "Options",
        "Runs",
        "",
    ];

    private static readonly IReadOnlyList<TypeUse> s_uses = TypeUses.Read(typeof(FineTune).Assembly);

    [Fact]
    public void Rooms_use_only_rooms_below_them() => Assert.Empty(Violations(s_uses, "LongLora", s_rooms));

    [Fact]
    public void Rooms_are_all_known()
    {
        var rooms = s_uses.SelectMany(u => new[] { u.UserNamespace, u.UsedNamespace }).Select(n => Room(n, "LongLora")).OfType<string>();
        Assert.Empty(rooms.Except(s_rooms));
        var folders = Directory.EnumerateDirectories(Repository.At("src", "LongLora")).Select(Path.GetFileName);
        Assert.Empty(folders.Except(s_rooms).Except(["bin", "obj", "build"]));
    }

    // What keeps the two tests above from passing because nothing is seen.
    [Fact]
    public void Rooms_in_another_order_are_not_allowed_what_they_do()
    {
        var violations = Violations(s_uses, "LongLora", [.. s_rooms.AsEnumerable().Reverse()]);
        foreach (
            var expected in new[] { "Training.Trainer uses Models.", "Models.DecoderBlock uses Attention.", "FineTune uses Training." }
        )
            Assert.Contains(violations, v => v.StartsWith(expected, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_way_to_use_a_type_is_seen()
    {
        const string root = "LongLora.Tests.Architecture.MadeUp";
        var found = Violations(TypeUses.Read(typeof(LayerRuleTests).Assembly), root, ["Low", "High"]);
        string[] ways =
        [
            "AsAttribute",
            "AsBase",
            "AsCall",
            "AsCatch",
            "AsConstraint",
            "AsField",
            "AsInterface",
            "AsLocal",
            "AsParameter",
            "AsReturn",
            "AsTypeArgument",
            "AsTypeOf",
            "InAsync",
            "InLambda",
            "InNestedType",
        ];
        Assert.Equal(ways, found.Select(v => v.Split(' ')[0]["Low.".Length..]).Distinct().Order(StringComparer.Ordinal));
        Assert.All(found, v => Assert.Contains(" uses High.", v, StringComparison.Ordinal));
    }

    private static List<string> Violations(IReadOnlyList<TypeUse> uses, string root, string[] rooms)
    {
        var order = rooms.Index().ToDictionary(r => r.Item, r => r.Index);
        int Place(string? room) => room is not null && order.TryGetValue(room, out var place) ? place : -1;
        return
        [
            .. uses.Select(u => (Use: u, From: Room(u.UserNamespace, root), To: Room(u.UsedNamespace, root)))
                .Where(u => Place(u.From) >= 0 && Place(u.To) > Place(u.From))
                .Select(u => $"{Name(u.From!, u.Use.User)} uses {Name(u.To!, u.Use.Used)}")
                .Distinct()
                .Order(StringComparer.Ordinal),
        ];
    }

    private static string Name(string room, string type) => room.Length == 0 ? type : $"{room}.{type}";

    // "LongLora.Tokenization.Jinja" lies in the room Tokenization, "LongLora" in the root "", and what the compiler adds in none.
    private static string? Room(string name, string root) =>
        name == root ? ""
        : name.StartsWith(root + ".", StringComparison.Ordinal) ? name[(root.Length + 1)..].Split('.')[0]
        : null;
}
