namespace LongLora.Tests.Architecture.MadeUp.High;

// The upper of two rooms that exist for LayerRuleTests alone.
internal class Thing
{
    public static void Work() { }
}

internal interface IThing;

internal sealed class ThingException : Exception;

[AttributeUsage(AttributeTargets.All)]
internal sealed class ThingAttribute : Attribute;
