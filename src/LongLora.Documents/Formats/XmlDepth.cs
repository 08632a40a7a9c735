using System.Xml;
using System.Xml.Linq;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Loads XML whose elements are nested no deeper than any document needs, because code walks through it by recursion, and building a deep
/// tree takes long.
/// </summary>
internal static class XmlDepth
{
    private const int Deepest = 500;

    /// <summary>The element at which a reader stands, with all that is in it. The reader goes behind it.</summary>
    /// <param name="xml">The reader.</param>
    /// <param name="file">The name of the file, for messages.</param>
    /// <exception cref="DataException">It is nested too deeply.</exception>
    public static XElement Load(XmlReader xml, string file)
    {
        var root = Open(xml);
        var at = xml.IsEmptyElement ? null : root;
        xml.Read();
        for (var depth = 0; at is not null; xml.Read())
        {
            switch (xml.NodeType)
            {
                case XmlNodeType.Element:
                    var element = Open(xml);
                    at.Add(element);
                    if (xml.IsEmptyElement)
                        break;
                    if (++depth >= Deepest)
                        throw new DataException(
                            $"Cannot read {file} because its elements are nested too deeply: more than {Deepest}. It is damaged, or made "
                                + "to be harmful."
                        );
                    at = element;
                    break;
                case XmlNodeType.EndElement:
                    at = depth-- == 0 ? null : at.Parent;
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.Whitespace or XmlNodeType.SignificantWhitespace:
                    at.Add(new XText(xml.Value));
                    break;
                case XmlNodeType.None:
                    throw new XmlException("The text ends inside an element.");
            }
        }
        return root;
    }

    private static XElement Open(XmlReader xml)
    {
        var element = new XElement(XName.Get(xml.LocalName, xml.NamespaceURI));
        while (xml.MoveToNextAttribute())
        {
            // Declarations of namespaces have done their work.
            if (xml.Prefix != "xmlns" && xml.Name != "xmlns")
                element.Add(new XAttribute(XName.Get(xml.LocalName, xml.NamespaceURI), xml.Value));
        }
        xml.MoveToElement();
        return element;
    }
}
