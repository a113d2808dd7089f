"""TLS as a layer between a transport and a session. Importing this loads `ssl`."""

from .contexts import Certificates, check_context, client_context, server_context
from .info import TLSInfo, tls_info
from .layer import MEMORY, SecureSession

__all__ = [
    "MEMORY",
    "Certificates",
    "SecureSession",
    "TLSInfo",
    "check_context",
    "client_context",
    "server_context",
    "tls_info",
]
