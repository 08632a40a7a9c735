using LongLora.Options;
using LongLora.Runtime;

namespace LongLora.Tests.Options;

public class IdleOptionsTests
{
    private const string Needed = "model: m\ndata: [d]\ncontext: 4096\noutput: o\n";

    private static void Validate(string recipe) => Recipe.Parse(Needed + recipe, "test", FineTuneOptionTable.Defaults).Validate();

    // Each option that only the kind that is not trained has, with another value than its default.
    [Theory]
    [InlineData("text", OptionEffect.AnswerTokens, "it applies only to conversations, and task is text")]
    [InlineData("sft", OptionEffect.TextTokens, "it applies only to plain text, and task is sft")]
    internal void Validate_options_of_the_other_task_are_refused(string task, OptionEffect effect, string reason)
    {
        var options = FineTuneOptionTable.All.Where(o => o.Effect == effect).ToList();
        Assert.NotEmpty(options);
        foreach (var option in options)
        {
            var value =
                option.IsSwitch ? "true"
                : option.IsList ? "[a=b]"
                : option.Placeholder == "N" ? "4"
                : "llama2";
            var e = Assert.Throws<ConfigurationException>(() => Validate($"task: {task}\n{option.Name}: {value}\n"));
            Assert.Equal(
                $"{option.Name} is {value.Trim('[', ']')}, but {reason}. Remove it, or set task to {(task == "text" ? "sft" : "text")}",
                e.Message
            );
            Validate($"task: {(task == "text" ? "sft" : "text")}\n{option.Name}: {value}\n");
        }
    }

    [Theory]
    [InlineData("rank: 64")]
    [InlineData("alpha: 8")]
    [InlineData("target-modules: [q_proj]")]
    [InlineData("adapter-kind: dora")]
    [InlineData("rslora: true")]
    [InlineData("train-embeddings: true")]
    [InlineData("train-norms: false")]
    public void Validate_options_of_LoRA_are_refused_where_every_weight_is_trained(string option)
    {
        var e = Assert.Throws<ConfigurationException>(() => Validate($"tuning: full\n{option}\n"));
        Assert.StartsWith($"{option.Split(':')[0]} is ", e.Message, StringComparison.Ordinal);
        Assert.Contains("it applies only to LoRA, and tuning is full", e.Message, StringComparison.Ordinal);
        Validate(option);
    }

    [Theory]
    [InlineData("attention: full\n", "group-size: 64")]
    [InlineData("attention: full\n", "group-ratio: 0.5")]
    [InlineData("rope-scaling: default\n", "rope-factor: 4")]
    public void Validate_options_of_what_is_off_are_refused(string off, string option)
    {
        Assert.StartsWith(
            $"{option.Replace(":", " is", StringComparison.Ordinal)}, but ",
            Assert.Throws<ConfigurationException>(() => Validate(off + option)).Message,
            StringComparison.Ordinal
        );
        Validate(option);
    }

    // A saved recipe has every option.
    [Theory]
    [InlineData("tuning: full")]
    [InlineData("attention: full")]
    [InlineData("rope-scaling: default")]
    [InlineData("task: sft")]
    public void Validate_a_written_recipe_with_all_defaults_is_accepted(string recipe)
    {
        var options = Recipe.Parse(Needed + recipe, "test", FineTuneOptionTable.Defaults);
        Recipe.Parse(Recipe.Write(options, "test"), "test", FineTuneOptionTable.Defaults).Validate();
    }
}
