namespace LongLora.Studies;

/// <summary>Times of one square matrix, in seconds: the shortest of several runs.</summary>
/// <param name="Size">O and I.</param>
/// <param name="Rows">Rows that are multiplied.</param>
/// <param name="Dense">Product with the matrix in fp32.</param>
/// <param name="Nf4">The same with it in NF4.</param>
/// <param name="Int8">The same with it in 8 bits.</param>
/// <param name="Kernels">Decoding the whole NF4 matrix with scalar, AVX2 and AVX-512 code, if the machine supports them, by name.</param>
/// <param name="Lookup">The same by tensor operations.</param>
/// <param name="Quantize">Quantizing the matrix to NF4.</param>
/// <param name="BytesPerWeight">Of the NF4 matrix.</param>
internal sealed record DequantizationTimes(
    long Size,
    long Rows,
    double Dense,
    double Nf4,
    double Int8,
    IReadOnlyDictionary<string, double> Kernels,
    double Lookup,
    double Quantize,
    double BytesPerWeight
);
