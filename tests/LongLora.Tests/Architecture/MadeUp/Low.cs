using LongLora.Tests.Architecture.MadeUp.High;

#pragma warning disable CA1812, CA1822, CA1823, CS0169, IDE0051, IDE0044 // nothing here is ever run

namespace LongLora.Tests.Architecture.MadeUp.Low;

// The lower of two rooms: each type breaks the rule in one way.
[Thing]
internal sealed class AsAttribute;

internal sealed class AsBase : Thing;

internal sealed class AsInterface : IThing;

internal sealed class AsConstraint
{
    public void Take<T>()
        where T : IThing { }
}

internal sealed class AsField
{
    private readonly List<Thing[]>? _things;
}

internal sealed class AsParameter
{
    public void Take(Thing thing) { }
}

internal sealed class AsReturn
{
    public Thing? Give() => null;
}

internal sealed class AsLocal
{
    public int Look(object thing)
    {
        var known = thing as Thing;
        return known is null ? 0 : known.GetHashCode();
    }
}

internal sealed class AsCall
{
    public void Call() => Thing.Work();
}

internal sealed class AsTypeArgument
{
    public int Count() => Array.Empty<Thing>().Length;
}

internal sealed class AsTypeOf
{
    public string Name() => typeof(Thing).Name;
}

internal sealed class AsCatch
{
    public void Try(Action action)
    {
        try
        {
            action();
        }
        catch (ThingException) { }
    }
}

internal sealed class InLambda
{
    public Action Make(int count) =>
        () =>
        {
            for (var i = 0; i < count; i++)
                Thing.Work();
        };
}

internal sealed class InAsync
{
    public async Task Wait()
    {
        await Task.Yield();
        Thing.Work();
    }
}

internal sealed class InNestedType
{
    private sealed class Inner
    {
        public void Call() => Thing.Work();
    }
}

internal sealed class Innocent
{
    public string Name() => nameof(Thing); // a text by the time it is compiled
}
