using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using LongLora.Runtime;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace LongLora.Server;

/// <summary>Reads the certificate for TLS.</summary>
internal static class Certificates
{
    /// <summary>Reads the files that the options name.</summary>
    /// <exception cref="ConfigurationException">One is missing, damaged or without a key.</exception>
    internal static void Use(HttpsConnectionAdapterOptions https, ServerOptions options)
    {
        var (file, key, password) = (options.CertificateFile!, options.CertificateKeyFile, options.CertificatePassword);
        foreach (var path in new[] { file, key }.OfType<string>().Where(path => !File.Exists(path)))
            throw new ConfigurationException($"There is no file '{path}' for TLS.");
        try
        {
            if (X509Certificate2.GetCertContentType(file) == X509ContentType.Pkcs12)
            {
                https.ServerCertificate = X509CertificateLoader.LoadPkcs12FromFile(file, password);
            }
            else
            {
                https.ServerCertificate = password is null
                    ? X509Certificate2.CreateFromPemFile(file, key)
                    : X509Certificate2.CreateFromEncryptedPemFile(file, password, key);
                var chain = new X509Certificate2Collection();
                chain.ImportFromPemFile(file);
                https.ServerCertificateChain = chain;
            }
        }
        catch (CryptographicException e)
        {
            throw new ConfigurationException(
                $"Cannot use '{file}' for TLS because {e.Message.TrimEnd('.')}. Give a certificate with its key as PEM or PKCS #12.",
                e
            );
        }
        if (!https.ServerCertificate.HasPrivateKey)
            throw new ConfigurationException($"'{file}' has no private key. Give the key's file too.");
    }
}
