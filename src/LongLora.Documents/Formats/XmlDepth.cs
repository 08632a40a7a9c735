using System.Xml.Linq;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>Refuses XML whose elements are nested deeper than any document needs, before code walks through it by recursion.</summary>
internal static class XmlDepth
{
    private const int Deepest = 500;

    /// <summary>Returns the element if it is not too deep.</summary>
    /// <exception cref="DataException">It is.</exception>
    public static XElement Check(XElement root, string file)
    {
        var depth = 0;
        for (XNode? node = root; node is not null; )
        {
            if (node is XContainer { FirstNode: { } first })
            {
                if (++depth > Deepest)
                    throw new DataException(
                        $"Cannot read {file} because its elements are nested too deeply: more than {Deepest}. It is damaged, or made to "
                            + "be harmful."
                    );
                node = first;
                continue;
            }
            while (node is not null && node != root && node.NextNode is null)
            {
                node = node.Parent;
                depth--;
            }
            node = node == root ? null : node?.NextNode;
        }
        return root;
    }
}
