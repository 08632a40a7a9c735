using System.Text.Json;

namespace LongLora.Data;

/// <summary>One record of a file: a JSON object, or a row of a table.</summary>
/// <param name="Value">The record, with its fields or columns. Good until the next record is asked for.</param>
/// <param name="Origin">Where it came from, such as <c>data.jsonl:17</c>, for messages.</param>
public readonly record struct DataRecord(JsonElement Value, string Origin);
