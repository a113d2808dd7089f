"""TLS as a layer between a transport and a session. Importing this loads `ssl`."""

from .contexts import Certificates, client_context, server_context
from .layer import SecureSession

__all__ = ["Certificates", "SecureSession", "client_context", "server_context"]
