using System.Globalization;
using System.Text;

namespace LongLora.Data;

/// <summary>Words and numbers for generated documents: common ones, and invented ones that can only be copied.</summary>
internal static class PracticeWords
{
    private static readonly string[] s_nouns = Split(
        """
        river mountain garden window teacher doctor village market engine bridge letter island forest kitchen library captain harbour station
        painter farmer soldier merchant castle valley winter summer morning evening shadow silver copper marble cotton leather paper bottle
        mirror basket hammer ladder carpet blanket candle lantern compass journal ticket whistle trumpet violin piano drum flag tower tunnel
        canal desert meadow orchard stable cottage palace temple prison school hospital theatre museum factory office planet comet rocket
        satellite telescope microscope computer network keyboard protocol memory signal battery magnet crystal diamond pearl emerald tiger
        lion eagle falcon sparrow rabbit turtle dolphin whale salmon spider butterfly monkey camel donkey horse
        """
    );

    private static readonly string[] s_adjectives = Split(
        """
        quiet bright ancient narrow gentle bitter clever distant golden hollow humble jolly lonely mellow noble orange patient purple rapid rusty
        silent simple slender smooth solid spare steady stormy strange sudden tender tiny vivid warm weary wild windy wise wooden yellow young
        brave calm careful cheap clean cold common crooked curious daily dark dear deep dry dull early empty equal fair false famous fierce
        final firm flat free fresh full grand green grey happy hard heavy honest huge icy large late lazy light little long loud lovely lucky
        modern narrow neat new odd old open pale plain polite poor proud public pure quick rare rich ripe rough round royal sad safe scarlet
        """
    );

    private static readonly string[] s_subjects = Split(
        """
        technology education music climate poetry history medicine travel religion cooking photography architecture football chess psychology
        economics democracy gardening astronomy biology chemistry fashion television advertising agriculture energy transport housing sleep
        exercise nutrition language literature painting sculpture cinema theatre privacy security banking insurance farming fishing
        """
    );

    private static readonly string[] s_targets = Split(
        """
        society children families cities communication creativity health memory happiness work friendship language culture nature business
        politics science art learning relationships oceans forests animals schools workers villages markets food water air
        """
    );

    private static readonly string[] s_aspects = Split(
        "impact role history future psychology benefits effects meaning origins dangers art science ethics importance cost value"
    );

    private const string Consonants = "bcdfghjklmnprstvwz",
        Vowels = "aeiou";

    public static string PickNoun(SplitMix64 random) => random.Pick(s_nouns);

    public static string PickAdjective(SplitMix64 random) => random.Pick(s_adjectives);

    /// <summary>A word that no text contains, such as <c>tobaruk</c>.</summary>
    public static string InventWord(SplitMix64 random)
    {
        var word = new StringBuilder();
        for (var syllables = random.Between(1, 3); syllables > 0; syllables--)
            word.Append(Consonants[random.Below(Consonants.Length)]).Append(Vowels[random.Below(Vowels.Length)]);
        return word.Append(Consonants[random.Below(Consonants.Length)]).ToString();
    }

    /// <summary>A name: an invented word with a capital letter.</summary>
    public static string MakeName(SplitMix64 random)
    {
        var word = InventWord(random);
        return char.ToUpperInvariant(word[0]) + word[1..];
    }

    /// <summary>A number from 1 to 50,000, as in the passkey and lines tasks.</summary>
    public static string PickNumber(SplitMix64 random) => random.Between(1, 50000).ToString(CultureInfo.InvariantCulture);

    /// <summary>Something to remember: a number, an invented word, or two common words.</summary>
    public static string MakeValue(SplitMix64 random) =>
        random.Below(4) switch
        {
            0 => InventWord(random),
            1 => $"{PickAdjective(random)} {PickNoun(random)}",
            _ => PickNumber(random),
        };

    /// <summary>Something to talk about, such as <c>the impact of chess on memory</c>.</summary>
    public static string PickTopic(SplitMix64 random) =>
        random.Below(5) switch
        {
            0 => $"the {random.Pick(s_aspects)} of {random.Pick(s_subjects)}",
            1 => $"the {random.Pick(s_aspects)} of {PickAdjective(random)} {random.Pick(s_subjects)}",
            2 => $"the {random.Pick(s_aspects)} of the {PickAdjective(random)} {PickNoun(random)}",
            3 => $"{random.Pick(s_subjects)} and {random.Pick(s_targets)}",
            _ => $"the {random.Pick(s_aspects)} of {random.Pick(s_subjects)} on {random.Pick(s_targets)}",
        };

    private static string[] Split(string words) => [.. words.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Distinct()];
}
