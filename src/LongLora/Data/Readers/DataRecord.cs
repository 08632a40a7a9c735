using System.Text.Json;

namespace LongLora.Data;

/// <summary>One record of a file: a JSON object, or a row of a table.</summary>
/// <param name="Value">The record with its fields or columns. Valid until the next record is requested.</param>
/// <param name="Origin">Where it comes from, such as <c>data.jsonl:17</c>, for messages.</param>
public readonly record struct DataRecord(JsonElement Value, string Origin);
