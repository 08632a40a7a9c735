namespace LongLora.Evaluation;

/// <summary>Words for evaluation documents. Changing them changes every document.</summary>
internal static class EvaluationWords
{
    internal static readonly string[] Adjectives = (
        "able aged amber ample angry arid awful bare basic bitter blank bleak blind bold brave brief bright brisk broad busy calm "
        + "careful cheap chief civil clean clear clever close "
        + "cold common cool crisp cruel curly damp dark dear deep dense dirty double dry dull eager early easy empty equal exact faint "
        + "fair false famous fast fierce final firm flat fond formal frail free fresh full gentle "
        + "giant glad golden grand grave great green grim hard harsh heavy hollow honest huge humble icy ideal idle inner jolly keen "
        + "kind large late lazy lean light little lively local lone long loud lucky mad main major mild "
        + "minor modest narrow neat noble odd old open orange outer pale patient plain polite prime proper proud pure quick quiet rapid "
        + "rare raw ready rich ripe rough round royal rude rural sad safe salty sharp short shy silent "
        + "silver simple slim slow small smart smooth soft solid sour spare steady steep stern stiff strange strict strong sudden sunny "
        + "sweet swift tall tame tender thick thin tidy tight tiny tough true urban usual vague vast "
        + "warm weak weary wet white wide wild wise wooden worthy yellow young"
    ).Split(' ');

    internal static readonly string[] Nouns = (
        "acorn actor anchor angle ankle apple apron arch arrow attic badge bag baker banner barn barrel basin basket beach bead beam "
        + "bear bell belt bench berry bird blade blanket boat bone book "
        + "boot bottle bowl box branch bread brick bridge broom brush bucket button cabin cable cake camel candle canoe cape card "
        + "carpet castle cave chain chair chalk cheese chest chimney circle cliff clock cloud coat coin comb "
        + "copper coral corn cottage cotton cradle crane crow crown cup curtain daisy desk dish door dove dress drum duck eagle engine "
        + "fan farm feather fence fern field finger flag flame flower flute forest fork fountain fox "
        + "frame garden gate giraffe glass glove goat grape guitar hammer harbor harp hat hill honey horn horse house island ivory "
        + "jacket jar jewel kettle key kite knife ladder lake lamp leaf lemon letter lion lock loom mango map "
        + "maple marble market mask meadow medal melon mill mirror moon mountain nail needle nest oak ocean olive onion orchard otter "
        + "oven owl paddle page palace paper parrot path pear pearl pebble pencil piano pillow pine pipe "
        + "planet plate plum pond potato quilt rabbit rain raven ribbon ring river road robin rock roof rope rose saddle sail salmon "
        + "sand scarf seed shell ship shoe silk snow spoon spring stairs star stone stool storm stove straw "
        + "sugar swan table tent thread tiger tower train tree trumpet tulip tunnel turtle valley vase village violin wagon wall walnut "
        + "well whale wheat wheel whistle willow window wolf wool yard"
    ).Split(' ');

    internal static readonly string[] Aspects =
    [
        "history",
        "future",
        "psychology",
        "economics",
        "importance",
        "science",
        "art",
        "ethics",
        "origins",
        "influence",
        "benefits",
        "dangers",
        "culture",
        "politics",
        "language",
        "geography",
    ];

    internal static readonly string[] Subjects =
    [
        "space travel",
        "public libraries",
        "coral reefs",
        "urban gardens",
        "classical music",
        "renewable energy",
        "mountain climbing",
        "ancient bridges",
        "wild bees",
        "video games",
        "paper making",
        "public transport",
        "winter sports",
        "deep sea fishing",
        "board games",
        "clock making",
        "folk dance",
        "bread baking",
        "photography",
        "desert farming",
        "river trade",
        "sleep",
        "map making",
        "modern theatre",
        "glass blowing",
        "tea drinking",
        "animal migration",
        "city planning",
        "weather forecasts",
        "sign language",
        "silent films",
        "school meals",
    ];

    internal static readonly string[] Places = (
        "Argentina Australia Austria Belgium Bolivia Brazil Bulgaria Canada Chile China Colombia Croatia Cuba Denmark Ecuador Egypt "
        + "Estonia Ethiopia Finland France Germany Ghana Greece Hungary Iceland India Indonesia Iran Ireland Italy Japan Jordan Kenya "
        + "Korea Latvia Lebanon Lithuania Malaysia Mexico Mongolia Morocco Nepal Nigeria Norway Pakistan Panama Peru Poland Portugal "
        + "Romania Senegal Serbia Spain Sweden Switzerland Tanzania Thailand Tunisia Turkey Uganda Ukraine Uruguay Vietnam Zambia"
    ).Split(' ');

    internal static readonly string[] Questions =
    [
        "That's interesting. How did it begin?",
        "Who are the people that care most about it?",
        "What do most people get wrong about it?",
        "How has it changed in the last hundred years?",
        "Is there a good way to learn more about it?",
        "What are the main problems that it faces today?",
        "Does it differ much from one country to another?",
        "What would you tell somebody who hears of it for the first time?",
        "Are there any risks that one should know?",
        "How much does it cost, and who pays for it?",
    ];

    internal static readonly string[] Answers =
    [
        "There are many sides to this, and experts do not agree on all of them.",
        "It began in small towns and spread from there over several decades.",
        "Most of what we know comes from letters, records and careful interviews.",
        "In recent years new tools have made it easier for people to take part.",
        "A good place to start is a local group, where people share what they have learned.",
        "The greatest difficulty is that money and time are always short.",
        "It differs a great deal between regions, mostly because of climate and habit.",
        "Children often take to it more quickly than their parents do.",
        "Some studies suggest that it improves both health and mood.",
        "Critics say that it takes up space which could be used for other things.",
        "It has always depended on people who work without being paid.",
        "Over time the rules have become simpler, and that has helped.",
    ];
}
