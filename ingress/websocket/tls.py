"""TLS for WebSocket, from the files that QUIC takes its certificate from."""

from __future__ import annotations

import ssl

from ingress.server.certificates import CertificateError, CertificateFiles


def tls_context(files: CertificateFiles) -> ssl.SSLContext:
    """A context for new connections. Raises CertificateError.

    Made anew for each certificate: a context that is given a second one of another key type keeps both.
    """
    files.load()  # For its words: OpenSSL's do not say which file is wrong.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # RFC 6455 is HTTP/1.1; without this a client could settle on HTTP/2 and be answered with nothing.
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.private_key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"TLS cannot use the certificate {files.certificate}: {error}") from error
    return context
