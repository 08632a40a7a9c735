using System.CommandLine;
using System.CommandLine.Parsing;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary>
/// How every option and argument that is a number is parsed. The parser of System.CommandLine takes a comma for a sign between thousands,
/// so that 0,5 would be 5.
/// </summary>
internal static class TypedNumbers
{
    /// <summary>Gives the parser to the numbers of a command and of all below it.</summary>
    internal static void Register(Command command)
    {
        foreach (var option in command.Options)
            Register(option);
        foreach (var argument in command.Arguments)
            Register(argument);
        foreach (var below in command.Subcommands)
            Register(below);
    }

    private static void Register(Option option)
    {
        switch (option)
        {
            case CountOption count:
                count.CustomParser = result => ParseCount(result, count);
                break;
            case Option<int> one:
                one.CustomParser = Whole<int>;
                break;
            case Option<int?> one:
                one.CustomParser = result => Whole<int>(result);
                break;
            case Option<long> one:
                one.CustomParser = Whole<long>;
                break;
            case Option<long?> one:
                one.CustomParser = result => Whole<long>(result);
                break;
            case Option<double> one:
                one.CustomParser = Real;
                break;
            case Option<double?> one:
                one.CustomParser = result => Real(result);
                break;
            case Option<double[]> list:
                list.CustomParser = result => ParseEach(result, NumberText.ParseReal);
                break;
            default:
                RequireNoNumber(option.ValueType, option.Name);
                break;
        }
    }

    private static void Register(Argument argument)
    {
        if (argument is Argument<int> one)
            one.CustomParser = Whole<int>;
        else
            RequireNoNumber(argument.ValueType, argument.Name);
    }

    // A new kind of number would get the parser of System.CommandLine.
    private static void RequireNoNumber(Type type, string name)
    {
        var one = type.GetElementType() ?? Nullable.GetUnderlyingType(type) ?? type;
        if (!one.IsEnum && Type.GetTypeCode(one) is >= TypeCode.SByte and <= TypeCode.Decimal)
            throw new InvalidOperationException($"{name} is a {type}; give {nameof(TypedNumbers)} a parser for it.");
    }

    private static T Whole<T>(ArgumentResult result)
        where T : struct, System.Numerics.IBinaryInteger<T>, System.Numerics.IMinMaxValue<T> =>
        ParseEach(result, NumberText.ParseWhole<T>).FirstOrDefault();

    private static int ParseCount(ArgumentResult result, CountOption option)
    {
        var count = Whole<int>(result);
        if (count < option.Least && !result.Errors.Any())
            result.AddError($"{option.Name} is {count}; it must be at least {option.Least}.");
        return count;
    }

    private static double Real(ArgumentResult result) => ParseEach(result, NumberText.ParseReal).FirstOrDefault();

    private static T[] ParseEach<T>(ArgumentResult result, Func<string, string, T> parse)
    {
        var name = result.Parent is OptionResult option ? option.Option.Name : HelpScreen.NameOf(result.Argument);
        try
        {
            return [.. result.Tokens.Select(t => parse(name, t.Value))];
        }
        catch (ConfigurationException e)
        {
            result.AddError(e.Message);
            return [];
        }
    }
}
