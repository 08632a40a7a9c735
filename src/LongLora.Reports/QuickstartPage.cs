using System.Globalization;
using System.Net;
using System.Text;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>What a quickstart found, as one HTML page that needs nothing else: a table, two charts as SVG, the recipe.</summary>
public static class QuickstartPage
{
    private const int Width = 640, Height = 260, Left = 56, Right = 12, Top = 12, Bottom = 36;

    /// <summary>Writes the page.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">What was asked for.</param>
    /// <param name="result">What was found.</param>
    /// <param name="steps">The training's steps.</param>
    /// <param name="elapsed">Time of everything.</param>
    public static void Write(string path, QuickstartOptions options, QuickstartResult result, IReadOnlyList<TrainingStep> steps, TimeSpan elapsed)
    {
        string[] lengths = [.. result.Before.Select(m => m.Length.ToString("N0", CultureInfo.InvariantCulture))];
        double[] Of(IReadOnlyList<QuickstartMeasure> measures, Func<QuickstartMeasure, double> value) => [.. measures.Select(value)];
        var rows = string.Concat(result.Before.Zip(result.Rescaled, result.After).Select(p => Invariant(
            $"<tr><td>{p.First.Length:N0}</td><td>{p.First.PassKey:P0}</td><td>{p.Second.PassKey:P0}</td><td>{p.Third.PassKey:P0}</td><td>{p.First.Perplexity:F2}</td><td>{p.Second.Perplexity:F2}</td><td>{p.Third.Perplexity:F2}</td></tr>\n")));
        var last = steps.Count > 0 ? steps[^1] : null;
        AtomicFile.WriteText(path, Invariant($"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>LongLora quickstart</title>
            <style>
            :root [[ color-scheme: light dark; --before: #c0561e; --after: #1f6fb2; ]]
            body [[ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; ]]
            .wide [[ overflow-x: auto; ]]
            table [[ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; ]]
            th, td [[ text-align: right; padding: .3rem .6rem; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); ]]
            svg [[ width: 100%; height: auto; ]]
            svg text [[ fill: currentColor; font: 12px system-ui, sans-serif; ]]
            svg .axis [[ stroke: currentColor; stroke-opacity: .25; ]]
            .before [[ stroke: var(--before); fill: none; stroke-width: 2.5; ]]
            .after [[ stroke: var(--after); fill: none; stroke-width: 2.5; ]]
            b.before [[ color: var(--before); ]] b.after [[ color: var(--after); ]]
            </style>
            </head>
            <body>
            <h1>{result.Before[0].Length:N0} to {result.After[^1].Length:N0} tokens</h1>
            <p>A small language model, {WebUtility.HtmlEncode(Path.GetFileName(Path.TrimEndingDirectorySeparator(options.Model)))}, was trained on {result.Before[0].Length:N0} tokens. LongLoRA extended it:
            shifted sparse attention in training, LoRA with embeddings and norms, rescaled positions. {result.Training.TrainedParameters:N0} weights were trained in
            {last?.Step ?? 0} steps and {result.TrainingTime.TotalSeconds:F0} seconds; everything took {elapsed.TotalMinutes:F1} minutes. All measures use full attention.</p>
            <div class="wide"><table>
            <tr><th rowspan="2">tokens</th><th colspan="3">pass key found</th><th colspan="3">perplexity</th></tr>
            <tr><th>before</th><th>rescaled</th><th>after</th><th>before</th><th>rescaled</th><th>after</th></tr>
            {rows}</table></div>
            <p>{options.Trials} pass keys at each length. Perplexity on {WebUtility.HtmlEncode(result.TestText)}, held out from the training. <i>Rescaled</i> are the same weights with the longer positions (YaRN), before they were trained.</p>
            <h2>Pass key found, <b class="before">before</b> and <b class="after">after</b></h2>
            {Chart(lengths, [("before", Of(result.Before, m => m.PassKey)), ("after", Of(result.After, m => m.PassKey))], 0, 1, v => v.ToString("P0", CultureInfo.InvariantCulture), "tokens")}
            <h2>Loss by length, <b class="before">before</b> and <b class="after">after</b></h2>
            {LossChart(lengths, Of(result.Before, m => Math.Log(m.Perplexity)), Of(result.After, m => Math.Log(m.Perplexity)))}
            <h2>Training loss</h2>
            {Training(steps)}
            <p>LongLora {WebUtility.HtmlEncode(Recipe.Version)}. Every option of the run is in <code>run/recipe.yaml</code>.</p>
            </body>
            </html>

            """).Replace("[[", "{", StringComparison.Ordinal).Replace("]]", "}", StringComparison.Ordinal));
    }

    private static string LossChart(string[] lengths, double[] before, double[] after)
    {
        var (low, high) = (Math.Floor(before.Concat(after).Min()), Math.Ceiling(before.Concat(after).Max()));
        return Chart(lengths, [("before", before), ("after", after)], low, high, Number, "tokens");
    }

    private static string Training(IReadOnlyList<TrainingStep> steps)
    {
        if (steps.Count < 2)
            return "<p>One step.</p>";
        double[] losses = [.. steps.Select(s => s.Loss)];
        string[] labels = [.. steps.Select((s, i) => i == 0 || i == steps.Count - 1 || i == steps.Count / 2 ? s.Step.ToString(CultureInfo.InvariantCulture) : "")];
        return Chart(labels, [("after", losses)], Math.Floor(losses.Min()), Math.Ceiling(losses.Max()), Number, "step");
    }

    private static string Number(double value) => value.ToString("F1", CultureInfo.InvariantCulture);

    private static string Chart(string[] labels, (string Class, double[] Values)[] lines, double low, double high, Func<double, string> format, string unit)
    {
        var svg = new StringBuilder(Invariant($"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\">\n"));
        double X(int i) => Left + (labels.Length < 2 ? 0.5 : (double)i / (labels.Length - 1)) * (Width - Left - Right - 20) + 10;
        double Y(double value) => Top + (high - value) / Math.Max(1e-9, high - low) * (Height - Top - Bottom);
        for (var i = 0; i <= 4; i++)
        {
            var value = low + (high - low) * i / 4;
            svg.Append(Invariant($"<line class=\"axis\" x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Y(value):F1}\" y2=\"{Y(value):F1}\"/><text x=\"{Left - 6}\" y=\"{Y(value) + 4:F1}\" text-anchor=\"end\">{format(value)}</text>\n"));
        }
        for (var i = 0; i < labels.Length; i++)
        {
            if (labels[i].Length > 0)
                svg.Append(Invariant($"<text x=\"{X(i):F1}\" y=\"{Height - 18}\" text-anchor=\"middle\">{labels[i]}</text>\n"));
        }
        svg.Append(Invariant($"<text x=\"{Width - Right}\" y=\"{Height - 3}\" text-anchor=\"end\">{unit}</text>\n"));
        foreach (var (name, values) in lines)
            svg.Append(Invariant($"<polyline class=\"{name}\" points=\"{string.Join(' ', values.Select((v, i) => Invariant($"{X(i):F1},{Y(v):F1}")))}\"/>\n"));
        return svg.Append("</svg>").ToString();
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
