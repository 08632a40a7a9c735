using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Options;
using LongLora.Runtime;

namespace LongLora.Cli.Tests;

/// <summary>How numbers are read, for every option of every command that is one.</summary>
public class NumberTests : CliRun
{
    private const string Real = "it must be a number such as 0.5 or 2e-5.",
        Whole = "it must be a whole number.";

    private static readonly string[] s_none = ["0,5", "1,000", "1.000,5", "1_000", "0x10", "NaN", "Infinity", "-Infinity", "٣", "1 2"];

    [Fact]
    public void Options_and_arguments_of_all_commands_refuse_what_is_not_plainly_a_number()
    {
        using var interruption = new Interruption();
        var error = TextWriter.Null;
        var root = CliApplication.CreateRoot(new CliContext(TextReader.Null, error, error, interruption, CliJob.Find(error)));
        var seen = 0;
        foreach (var (command, option) in ListCommands(root).SelectMany(c => c.Options.Select(o => (c, o))))
        {
            if (FindNumber(option.ValueType) is not { } type)
                continue;
            seen++;
            var isReal = type == typeof(double) || type == typeof(float) || type == typeof(decimal);
            foreach (var text in s_none.Concat(isReal ? ["1e400"] : ["0.5", "1e3", "1.0"]))
                RequireRefused(
                    root.Parse([.. ListWords(command), $"{option.Name}={text}"]),
                    $"{option.Name} is '{text}'; {(isReal ? Real : Whole)}"
                );
            var given = root.Parse([.. ListWords(command), $"{option.Name}={(isReal ? "2.5e-1" : "7")}"]);
            Assert.DoesNotContain(given.Errors, e => e.Message.Contains("it must be", StringComparison.Ordinal));
            Assert.True(!isReal || given.GetResult(option)!.GetValueOrDefault<object>() is 0.25 or double[] and [0.25], option.Name);
        }
        foreach (var (command, argument) in ListCommands(root).SelectMany(c => c.Arguments.Select(a => (c, a))))
        {
            if (FindNumber(argument.ValueType) is null)
                continue;
            seen++;
            RequireRefused(root.Parse([.. ListWords(command), "1,000"]), $"{argument.Name} is '1,000'; {Whole}");
        }
        Assert.True(seen > 60, $"only {seen} numbers");
    }

    [Fact]
    public void Options_of_recipes_refuse_what_is_not_plainly_a_number()
    {
        foreach (var option in FineTuneOptionTable.All.Where(o => o.Placeholder is "N" or "X"))
        {
            foreach (var text in s_none)
            {
                var e = Assert.Throws<ConfigurationException>(() => option.Apply(FineTuneOptionTable.Defaults, text));
                Assert.Equal($"{option.Name} is '{text}'; {(option.Placeholder == "N" ? Whole : Real)}", e.Message);
            }
        }
    }

    [Theory]
    [InlineData("--temperature is '0,5'", "generate --model m --prompt Once --temperature 0,5")]
    [InlineData("--top-p is '0,9'", "generate --model m --prompt Once --top-p 0,9")]
    [InlineData("--temperature is '0,5'", "serve --model m --temperature 0,5")]
    [InlineData("--temperature is '0,7'", "prepare qa --data d --model m --output o --temperature 0,7")]
    [InlineData("--rate is '1,5'", "plan --model llama-2-7b --context 8192 --rate 1,5")]
    [InlineData("--link is '1,5'", "plan --model llama-2-7b --context 8192 --link 1,5")]
    [InlineData("--generated is '0,5'", "data windows --tokenizer t --context 8 --windows 1 --output o --generated 0,5")]
    [InlineData("--weights is '0,5'", "data windows --tokenizer t --context 8 --windows 1 --output o --weights 1 0,5")]
    [InlineData("--learning-rate is '0,002'", "reproduce --learning-rate 0,002")]
    [InlineData("--learning-rate is '0,002'", "train --learning-rate 0,002")]
    public void Decimal_comma_is_refused_with_the_same_words_everywhere(string problem, string line) =>
        Fail(ExitCode.Usage, [$"{problem}; {Real}"], line.Split(' '));

    [Theory]
    [InlineData(
        "data practice --output o --documents 3000000000",
        "--documents is '3000000000'; it must be from -2147483648 to 2147483647."
    )]
    [InlineData("train --steps 3000000000", "--steps is '3000000000'; it must be from -2147483648 to 2147483647.")]
    public void Whole_number_out_of_range_is_refused_with_the_range(string line, string problem) =>
        Fail(ExitCode.Usage, [problem], line.Split(' '));

    [Fact]
    public void Counts_below_the_least_one_are_refused()
    {
        using var interruption = new Interruption();
        var error = TextWriter.Null;
        var root = CliApplication.CreateRoot(new CliContext(TextReader.Null, error, error, interruption, CliJob.Find(error)));
        var counts = ListCommands(root).SelectMany(c => c.Options.OfType<CountOption>().Select(o => (c, o))).ToList();
        Assert.True(counts.Count >= 10, $"only {counts.Count}");
        foreach (var (command, option) in counts)
        {
            ParseResult Parse(int count) => root.Parse([.. ListWords(command), $"{option.Name}={count}"]);
            var problem = $"{option.Name} is {option.Least - 1}; it must be at least {option.Least}.";
            RequireRefused(Parse(option.Least - 1), problem);
            Assert.DoesNotContain(Parse(option.Least).Errors, e => e.Message.Contains("at least", StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData("data practice --output OUT --documents 0", "--documents is 0; it must be at least 1.")]
    [InlineData("data questions --data d --output OUT --examples 0", "--examples is 0; it must be at least 1.")]
    [InlineData("data windows --tokenizer t --context 8 --windows 0 --output OUT", "--windows is 0; it must be at least 1.")]
    [InlineData("bench dequantize --size 0", "--size is 0; it must be at least 1.")]
    [InlineData("plan --model llama-2-7b --context 4096 --rate 0", "rate is 0; it must be above 0")]
    [InlineData("data sdk-docs --every 0 --output OUT", "--every is 0; it must be at least 1.")]
    public void Counts_of_nothing_are_refused_and_nothing_is_written(string line, string problem)
    {
        Fail(ExitCode.Usage, [problem], line.Replace("OUT", At("out"), StringComparison.Ordinal).Split(' '));
        Assert.False(File.Exists(At("out")));
    }

    private static void RequireRefused(ParseResult parsed, string problem) =>
        Assert.Contains(problem, parsed.Errors.Select(e => e.Message));

    private static IEnumerable<Command> ListCommands(Command command) => command.Subcommands.SelectMany(ListCommands).Prepend(command);

    private static IEnumerable<string> ListWords(Command command) => HelpScreen.GetPath(command).Split(' ').Skip(1);

    private static Type? FindNumber(Type type)
    {
        var one = type.GetElementType() ?? type.GetGenericArguments().FirstOrDefault() ?? type;
        return !one.IsEnum && Type.GetTypeCode(one) is >= TypeCode.SByte and <= TypeCode.Decimal ? one : null;
    }
}
