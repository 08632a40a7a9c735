using LongLora.Options;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Cli.Commands;

/// <summary>What a job of several ranks costs: for <see cref="PlanCommand"/>.</summary>
internal sealed class RankCosts
{
    private readonly TrainingPlan _plan;
    private readonly double? _link;
    private readonly bool _isExact;
    private readonly int _passes,
        _gradientSize;

    private RankCosts(FineTuneOptions options, TrainingPlan plan, int ranks, double? link)
    {
        (_plan, Ranks, _link, Shard) = (plan, ranks, link, options.Machine.Shard);
        (SequenceParallel, _passes) = (options.Machine.SequenceParallel, options.Optimizer.GradientAccumulation);
        (_isExact, _gradientSize) = (options.AddsExactly, options.AddsExactly ? sizeof(long) : sizeof(float));
    }

    /// <summary>Processes of the job.</summary>
    internal int Ranks { get; }

    /// <summary>What is divided among the ranks.</summary>
    internal Sharding Shard { get; }

    /// <summary>Ranks among which each text is divided.</summary>
    internal int SequenceParallel { get; }

    /// <summary>Texts that are learned at the same time.</summary>
    private int AtOnce => Ranks / SequenceParallel;

    // Texts that a rank takes in an optimizer step, one after the other.
    private double Rounds => Math.Ceiling((double)_passes / AtOnce);

    /// <summary>
    /// Bytes that a rank sends for the sum of the gradients, which are 8-byte integers if it is exact: twice as many as they have, less
    /// one part. Where the sum is divided, once for each round (in fp32: once), and then the new weights.
    /// </summary>
    internal double GradientBytes =>
        (Shard == Sharding.None ? 2.0 * _gradientSize : (_isExact ? Rounds : 1) * _gradientSize + sizeof(float))
        * (Ranks - 1)
        / Ranks
        * (_plan.Memory.Gradients / sizeof(float));

    internal double? GradientSeconds => GetSeconds(GradientBytes);

    /// <summary>Bytes of frozen matrices that a rank gets from the others in a pass over a text.</summary>
    internal double MatrixBytes => (double)_plan.GatheredBytes * (Ranks - 1) / Ranks;

    internal double? MatrixSeconds => GetSeconds(MatrixBytes);

    /// <summary>Both directions one after the other, once for each pass over a text.</summary>
    internal double? BorderSeconds => GetSeconds(_plan.Division?.Border.Total ?? 0);

    /// <summary>The number of ranks of a job, checked.</summary>
    /// <param name="options">The options.</param>
    /// <param name="ranks">As given; null for the smallest number.</param>
    /// <exception cref="ConfigurationException">There cannot be that many.</exception>
    internal static int Count(FineTuneOptions options, int? ranks)
    {
        var (parts, passes) = (options.Machine.SequenceParallel, options.Optimizer.GradientAccumulation);
        var count = ranks ?? parts;
        OptionProblems.ThrowIfAny(problems =>
        {
            problems.Require(
                count >= 1 && count % parts == 0,
                $"ranks is {count}; it must be a multiple of sequence-parallel, which is {parts}"
            );
            problems.Require(
                count / parts <= passes,
                $"ranks is {count}, so {count / parts} texts are learned at the same time, but gradient-accumulation is {passes}; it "
                    + "counts the texts of the whole job; raise it, or use fewer ranks"
            );
        });
        return count;
    }

    /// <summary>Costs of a planned job.</summary>
    /// <param name="options">The options.</param>
    /// <param name="plan">The plan of one rank.</param>
    /// <param name="ranks">Processes, as <see cref="Count"/> gives them.</param>
    /// <param name="link">Rate of the network in Gbit/s; null if it is not known.</param>
    /// <exception cref="ConfigurationException">The rate is not above 0.</exception>
    internal static RankCosts Make(FineTuneOptions options, TrainingPlan plan, int ranks, double? link)
    {
        OptionProblems.ThrowIfAny(problems => problems.Require(link is null or > 0, $"link is {link}; it must be above 0"));
        return new(options, plan, ranks, link);
    }

    /// <summary>Operations of the rank that does most in an optimizer step.</summary>
    /// <param name="pass">Operations of a forward and backward pass over a text.</param>
    internal double GetLongestShare(double pass)
    {
        var share = _plan.Division is { } part ? (double)part.LongestPart / part.Tokens : 1;
        return pass * share * Rounds;
    }

    internal void Show(CliContext context, double? rate)
    {
        if (Ranks == 1)
            return;
        if (_plan.Division is { } part)
        {
            context.Output.WriteLine(
                $"Each text is divided among {SequenceParallel} ranks: at most {part.LongestPart:N0} of {part.Tokens:N0} tokens a rank, so "
                    + $"{part.IdleShare * 100:N0} % of the time is idle."
            );
            context.Output.WriteLine(
                $"Over the busiest border go {FormatBytes(part.Border.Right)} to the right and {FormatBytes(part.Border.Left)} to the left "
                    + $"in a forward and backward pass, whatever the length of the text{AtLink(BorderSeconds)}. DeepSpeed-Ulysses would "
                    + $"send {FormatBytes(part.UlyssesBytes)} from each rank{AtLink(GetSeconds(part.UlyssesBytes))}"
                    + (part.Ranks > part.UlyssesLimit ? $", if it could use more ranks than {part.UlyssesLimit} key-value heads" : "")
                    + $"; ring attention {FormatBytes(part.RingBytes)}{AtLink(GetSeconds(part.RingBytes))}."
            );
        }
        if (MatrixBytes > 0)
            context.Output.WriteLine(
                $"Of the divided matrices each rank gets {FormatBytes(MatrixBytes)} from the others in a forward and backward pass, "
                    + $"whatever the length of the text{AtLink(MatrixSeconds)}."
            );
        context.Output.WriteLine(
            $"The sum of the gradients{(Shard == Sharding.None ? "" : " and the weights of other ranks")} sends "
                + $"{FormatBytes(GradientBytes)} from each rank in an optimizer step{AtLink(GradientSeconds)}."
        );
        if (rate is { } perSecond && _link is not null)
            ShowShare(context, GetLongestShare(_plan.Step.Needed) / perSecond);
        else if (_link is null)
            context.Output.WriteLine("Give the rate of the network with --link to see how long this takes.");
    }

    private void ShowShare(CliContext context, double computing)
    {
        var sending = GradientSeconds!.Value + (BorderSeconds!.Value + MatrixSeconds!.Value) * Rounds;
        context.Output.WriteLine(
            $"If nothing is sent while a rank computes, an optimizer step takes {PlanCommand.TimeText(computing + sending)}, of which "
                + $"{sending / (computing + sending) * 100:N1} % is sending."
        );
    }

    private double? GetSeconds(double bytes) => _link is { } gigabits ? bytes * 8 / (gigabits * 1e9) : null;

    private static string AtLink(double? seconds) => seconds is { } known ? $" ({PlanCommand.TimeText(known)})" : "";

    // In units of networks, powers of ten.
    private static string FormatBytes(double bytes) =>
        bytes >= 1e12 ? $"{bytes / 1e12:N1} TB"
        : bytes >= 1e9 ? $"{bytes / 1e9:N1} GB"
        : $"{bytes / 1e6:N1} MB";
}
