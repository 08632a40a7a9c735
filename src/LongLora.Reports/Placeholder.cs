namespace LongLora.Reports;
internal static class Placeholder;
